"""The README's table: what each part of the recipe does, over base seeds, on the test split, with fresh attackers.

    python benchmarks/hardening.py --seeds 0 1 2 --out /tmp/table    (half a CPU-hour a seed; goes on when killed)
    python benchmarks/hardening.py --out benchmarks/results/hardening --print     (the README's table, from its counts)

For each base seed a run of self-play is played (`--rounds`), and from its first round's sets three ablations are
trained with the same steps and settings. Every model sits the test exam once and meets attackers trained against it
from scratch.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from tsgb import surrogate
from tsgb.breakers.examples import Example
from tsgb.cli.tables import LABELS
from tsgb.environments.office.suites import SuiteSize, build_suite
from tsgb.environments.registry import environment
from tsgb.models.loading import WEIGHTS, save_adapter
from tsgb.records.dialogue import Split
from tsgb.records.report import ExamReport
from tsgb.rollouts.exam import merged, report, sit
from tsgb.rollouts.players import BASE, Target
from tsgb.settings import Settings, load_settings
from tsgb.surrogate.build import Recipe, build_surrogate
from tsgb.training.defender import Defender, train
from tsgb.worker.fresh import fresh_attackers
from tsgb.worker.harden import training_plan
from tsgb.worker.local import opened
from tsgb.worker.round import STAGES, run_round
from tsgb.worker.run import Run
from tsgb.worker.search import Budget
from tsgb.worker.sets import make_sets, well_done

SIZE = SuiteSize(benign=200, attacked=400, delegated=150, over_refusal=150, harmful=150)
FRESH = Budget(generations=4, population=24, tries=4, iterations=6, groups=12)
Select = Callable[[Run], tuple[Sequence[Example], dict[str, object]]]


def without(kind: str) -> Select:
    """The first round's sets without one kind of example."""

    def select(run: Run) -> tuple[Sequence[Example], dict[str, object]]:
        examples = run.examples(run.outputs(0, "sets")["examples"])
        return [example for example in examples if example.kind != kind], {f"{kind}_batch": 0}

    return select


def static_only(run: Run) -> tuple[Sequence[Example], dict[str, object]]:
    """Circuit breakers as published: known attacks alone, rerouting and retain losses alone."""
    known, benign = run.shard(0, "rollout", 0, list), run.shard(0, "rollout", 1, list)
    clean = well_done(run.shard(0, "sets", 0, list))
    examples = make_sets(run.players.base.tokenizer, environment("office").tools, known, clean, benign)
    return [example for example in examples if example.kind != "twin"], {"twin_batch": 0}


ABLATIONS: dict[str, Select] = {
    "static circuit breakers": static_only,
    "twin only, no rerouting": without("breaker"),
    "rerouting only": without("twin"),
}


def main() -> None:
    """Work off the seeds, two at a time, and print the table."""
    arguments = parse()
    if not arguments.print:
        with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
            for seed in [pool.submit(run_seed, seed, arguments) for seed in arguments.seeds]:
                seed.result()
    print(table(arguments.out, arguments.split))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--split", choices=["dev", "test"], default="test")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.FIELD=VALUE")
    parser.add_argument("--print", action="store_true")
    return parser.parse_args()


def run_seed(seed: int, arguments: argparse.Namespace) -> None:
    """Everything of one base seed; what is stored already is not repeated."""
    torch.set_num_threads(1)
    with opened(settings_of(seed, arguments), tell=lambda *_: None, note=print) as run:
        results = arguments.out / f"seed-{seed}-{arguments.split}"
        results.mkdir(parents=True, exist_ok=True)
        for name, target in models(run, arguments.rounds, arguments.out / f"adapters-{seed}"):
            file = results / f"{name.replace(' ', '_')}.json"
            if not file.exists():
                unfinished = file.with_suffix(".unfinished")
                unfinished.write_text(examined(run, name, target, arguments.split).model_dump_json(indent=1))
                unfinished.rename(file)


def settings_of(seed: int, arguments: argparse.Namespace) -> Settings:
    """Default settings on the base of a seed, which is built if it is not there."""
    folder = surrogate.shipped() if seed == 0 else arguments.out / "surrogates" / f"seed-{seed}"
    if not (folder / "build.json").exists():
        build_surrogate(Recipe(seed=seed), folder)
    flags = {"run.name": f"seed-{seed}", "run.seed": seed, "run.rounds": arguments.rounds, "run.processes": 1}
    chosen = dict(text.split("=", 1) for text in arguments.set)
    return load_settings(
        None, {**flags, "model.path": str(folder), "storage.root": str(arguments.out / "runs"), **chosen}
    )


def models(run: Run, rounds: int, folder: Path) -> Iterator[tuple[str, Target]]:
    """The rows of the table in order, each trained when it is asked for."""
    yield "base", BASE
    for name, stage in STAGES[:4]:
        if run.journal.done(0, name) is None:
            run.journal.finish(0, name, stage(run, 0))
    for name, select in ABLATIONS.items():
        yield name, trained(run, name, select, folder / name.replace(" ", "_"))
    for n in range(rounds):
        run_round(run, n)
        yield f"self-play round {n + 1}", run.target(run.outputs(n, "guards")["commit"])


def trained(run: Run, name: str, select: Select, folder: Path) -> Target:
    """The adapter of an ablation: same steps, same settings, other examples."""
    if not (folder / WEIGHTS).exists():
        examples, changes = select(run)
        with Defender(
            run.players.base, examples, training_plan(run).model_copy(update=changes), name="ablation"
        ) as defender:
            for _ in train(defender):
                pass
        save_adapter(run.players.base, "ablation", folder)
    return Target(name.replace(" ", "-").replace(",", ""), folder.absolute())


def examined(run: Run, name: str, target: Target, split: Split) -> ExamReport:
    """The exam of one model, and fresh attackers trained against it."""
    played = sit(
        lambda scenarios: run.players.play(scenarios, target), build_suite(split, SIZE, seed=run.settings.run.seed)
    )
    seen = report(played, target=name, split=split)
    fresh = fresh_attackers(run.players, target, FRESH, seed=f"{run.settings.run.seed}/{target.name}", split=split)
    return seen.model_copy(update={"rates": {**seen.rates, **fresh}})


def table(out: Path, split: Split) -> str:
    """Rows pooled over seeds as Markdown; a cell is percent [95 % Wilson interval]."""
    rows: dict[str, list[ExamReport]] = {}
    for file in sorted(out.glob(f"seed-*-{split}/*.json")):
        exam = ExamReport.model_validate(json.loads(file.read_text()))
        rows.setdefault(exam.target, []).append(exam)
    order = ["base", *ABLATIONS, *sorted(name for name in rows if name.startswith("self-play"))]
    pooled = [merged(rows[name], target=name) for name in order if name in rows]
    headings = [exam.target.replace("round 1", "round 1 (both)") for exam in pooled]
    lines = [f"| % [95 %] | {' | '.join(headings)} |", "|---" * (len(pooled) + 1) + "|"]
    lines += ["| base seeds | " + " | ".join(str(len(rows[exam.target])) for exam in pooled) + " |"]
    lines += [
        f"| {label} | " + " | ".join(str(exam.rates[key]) for exam in pooled) + " |" for key, label in LABELS.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
