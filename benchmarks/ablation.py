"""What each choice of loss, schedule, mask and set does: one at a time, all from the same round, on the dev split.

    python benchmarks/ablation.py --out /tmp/ablation    (a quarter of a CPU-hour for the round, minutes for each)
    python benchmarks/ablation.py --out /tmp/ablation --only rmu mask-sequence    (these alone; goes on when killed)
    python benchmarks/ablation.py --out /tmp/ablation --only default rmu --small --set breaker.steps=20    (a trial)

The first round of self-play is played once for each base seed. From its trajectories every variant makes its sets,
trains a fresh adapter with the default settings but for its own, and sits the dev exam. Nothing here looks at the test
split, so a choice made by this table may still be tested.
Leaves out: fresh attackers (`hardening.py` trains those) and choices in combination.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from hardening import (
    SIZE,
    Counted,
    collect_first_round,
    once,
    parser_of,
    pooled,
    sat,
    settings_of,
    trained,
    work_off,
)

from tsgb.cli.tables import LABELS
from tsgb.environments.office.suites import SuiteSize
from tsgb.records.training import Example
from tsgb.rollouts.players import BASE
from tsgb.worker.collect import sets
from tsgb.worker.local import opened
from tsgb.worker.run import Run

SMALL = SuiteSize(benign=8, attacked=16, delegated=8, over_refusal=8, harmful=8)
COLUMNS = (
    "benign_utility",
    "utility_under_attack",
    "injection_asr",
    "jailbreak_asr",
    "prefill_asr",
    "over_refusal",
    "harm_refused",
)
VARIANTS: Mapping[str, dict[str, object]] = {
    "default": {},
    "rmu": {"rerouting_loss": "rmu"},
    "random": {"rerouting_loss": "random"},
    "triplet": {"rerouting_loss": "triplet"},
    "distance": {"rerouting_loss": "distance"},
    "retain-kl": {"retain_loss": "kl"},
    "boundary": {"boundary_batch": 10},
    "twin-cross-entropy": {"twin_loss": "cross_entropy"},
    "twin-hidden": {"twin_loss": "hidden"},
    "single-alpha": {"weighting": "single_alpha"},
    "cosine-decay": {"decay": "cosine"},
    "full-decay": {"decay_multiplier": 1.0},
    "mask-completion": {"mask": "completion"},
    "mask-sequence": {"mask": "sequence"},
    "mask-spans": {"mask": "spans"},
    "requests-removed": {"request_removed": 0.5},
    "more-harmless": {"harmless_share": 0.36},
    "no-jailbreaks-seen": {"left_out": ("jailbreak",)},
    "no-twins": {"twin_batch": 0},
    "zero-start": {"init_std": 0.0},
    "upstream": {"mode": "upstream", "mask": "sequence", "twin_batch": 0, "steps": 150},
}
"""Name → settings of the breaker that differ from the default."""


def main() -> None:
    """Work off the seeds and print the table."""
    arguments = parse()
    if not arguments.print:
        work_off(run_seed, arguments)
    print(table(arguments.out))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__, seeds=[0])
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--small", action="store_true", help="an exam of a few scenarios, to try the command")
    return parser.parse_args()


def run_seed(seed: int, arguments: argparse.Namespace) -> None:
    """Every variant of one base seed; what is stored already is not repeated."""
    torch.set_num_threads(1)
    folder, size = arguments.out / f"ablation-{seed}", SMALL if arguments.small else SIZE
    with opened(settings_of(seed, arguments), tell=lambda *_: None, note=print) as run:
        collect_first_round(run)
        once(folder / "base.json", partial(sat, run, "base", BASE, "dev", size))
        for name in arguments.only:
            once(folder / f"{name}.json", partial(trained_and_sat, run, name, folder / "adapters" / name, size))


def trained_and_sat(run: Run, name: str, folder: Path, size: SuiteSize) -> Counted:
    """A variant's adapter, trained if it is not in its folder yet, and its exam."""
    return sat(run, name, trained(varied(run, name), name, variants_sets, folder), "dev", size)


def varied(run: Run, name: str) -> Run:
    """The same run under a variant's settings."""
    settings = run.settings
    breaker = type(settings.breaker)(**(settings.breaker.model_dump() | VARIANTS[name]))
    return replace(run, settings=type(settings)(**(dict(settings) | {"breaker": breaker})))


def variants_sets(run: Run) -> tuple[Sequence[Example], dict[str, object]]:
    """The first round's trajectories made into sets once more, as the settings of this run say."""
    return run.examples(sets(run, 0)["examples"]), {}


def table(out: Path) -> str:
    """A row for each variant, pooled over seeds, as Markdown; a cell is percent [95 % interval]."""
    lines = [
        f"| % [95 %] | {' | '.join(LABELS[key] for key in COLUMNS)} | base seeds |",
        "|---" * (len(COLUMNS) + 2) + "|",
    ]
    for name in ("base", *VARIANTS):
        files = sorted(out.glob(f"ablation-*/{name}.json"))
        if files:
            rates = pooled([Counted.model_validate_json(file.read_text()) for file in files])
            lines.append(f"| {name} | {' | '.join(str(rates[key]) for key in COLUMNS)} | {len(files)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
