"""The README's table: what each part of the recipe does, over base seeds, on the test split, with fresh attackers.

    python benchmarks/hardening.py --seeds 0 1 2 --out /tmp/table    (half a CPU-hour a seed; goes on when killed)
    python benchmarks/hardening.py --out benchmarks/results/hardening --print     (the README's table, from its counts)
    python benchmarks/hardening.py --out benchmarks/results/hardening --by-base "self-play round 3"

For each base seed a run of self-play is played (`--rounds`), and from its first round's sets three ablations are
trained with the same steps and settings. Every model sits the test exam once and meets attackers trained against it
from scratch. Intervals of the exam's rates count several attacks on one task as one cluster; a base is no cluster, so
that with `--by-base` a model's rates are printed base by base.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from tsgb import surrogate
from tsgb.cli.tables import LABELS
from tsgb.environments.office.suites import SuiteSize, build_suite
from tsgb.environments.registry import environment
from tsgb.judging.intervals import clustered_rate
from tsgb.models.loading import WEIGHTS, save_adapter
from tsgb.records.base import Record
from tsgb.records.dialogue import Split
from tsgb.records.report import ExamReport, Rate
from tsgb.records.training import Example
from tsgb.rollouts.exam import Played, merged, outcomes, report, sit
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
from tsgb.worker.sets import choices_of, make_sets, well_done

SIZE = SuiteSize(benign=200, attacked=400, delegated=150, over_refusal=150, harmful=150)
FRESH = Budget(generations=4, population=24, tries=4, iterations=6, groups=12)
Select = Callable[[Run], tuple[Sequence[Example], dict[str, object]]]
Clusters = dict[str, dict[str, int]]
"""Metric → what the dialogues about one task came to (`1 of 2`) → of how many tasks."""


class Counted(Record):
    """What is stored of one model on one base."""

    exam: ExamReport
    """Its exam, with the rates of fresh attackers."""
    clusters: Clusters
    """The same counts by task."""


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
    choices = choices_of(run.settings.breaker)
    examples = make_sets(run.players.base.tokenizer, environment("office").tools, known, clean, benign, choices=choices)
    return [example for example in examples if example.kind != "twin"], {"twin_batch": 0}


ABLATIONS: dict[str, Select] = {
    "static circuit breakers": static_only,
    "twin only, no rerouting": without("breaker"),
    "rerouting only": without("twin"),
}


def main() -> None:
    """Work off the seeds, two at a time, and print the table."""
    arguments = parse()
    if not (arguments.print or arguments.by_base):
        work_off(run_seed, arguments)
    counted = stored(arguments.out, arguments.split)
    print(by_base(counted, arguments.by_base) if arguments.by_base else table(counted))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__, seeds=[0, 1, 2])
    parser.add_argument("--split", choices=["dev", "test"], default="test")
    parser.add_argument("--by-base", metavar="MODEL", help="print one model's rates base by base")
    return parser.parse_args()


def parser_of(description: str | None, *, seeds: Sequence[int]) -> argparse.ArgumentParser:
    """What every benchmark that trains from stored runs can be told."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=seeds)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.FIELD=VALUE")
    parser.add_argument("--print", action="store_true")
    return parser


def work_off(run_seed: Callable[[int, argparse.Namespace], None], arguments: argparse.Namespace) -> None:
    """Every base seed in a process of its own, as many at a time as there are jobs."""
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
        for seed in [pool.submit(run_seed, seed, arguments) for seed in arguments.seeds]:
            seed.result()


def run_seed(seed: int, arguments: argparse.Namespace) -> None:
    """Everything of one base seed; what is stored already is not repeated."""
    torch.set_num_threads(1)
    with opened(settings_of(seed, arguments), tell=lambda *_: None, note=print) as run:
        results = arguments.out / f"seed-{seed}-{arguments.split}"
        for name, target in models(run, arguments.rounds, arguments.out / f"adapters-{seed}"):
            file = results / f"{name.replace(' ', '_')}.json"
            once(file, partial(examined, run, name, target, arguments.split))


def once(file: Path, examine: Callable[[], Counted]) -> None:
    """Count an exam that is not in its file yet."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".unfinished")
        unfinished.write_text(examine().model_dump_json(indent=1))
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
    collect_first_round(run)
    for name, select in ABLATIONS.items():
        yield name, trained(run, name, select, folder / name.replace(" ", "_"))
    for n in range(rounds):
        run_round(run, n)
        yield f"self-play round {n + 1}", run.target(run.outputs(n, "guards")["commit"])


def collect_first_round(run: Run) -> None:
    """The first round as far as its sets, if it has not come so far yet."""
    for name, stage in STAGES[:4]:
        if run.journal.done(0, name) is None:
            run.journal.finish(0, name, stage(run, 0))


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


def examined(run: Run, name: str, target: Target, split: Split) -> Counted:
    """The exam of one model, and fresh attackers trained against it."""
    seen = sat(run, name, target, split)
    fresh = fresh_attackers(run.players, target, FRESH, seed=f"{run.settings.run.seed}/{target.name}", split=split)
    exam = seen.exam.model_copy(update={"rates": {**seen.exam.rates, **fresh}})
    return seen.model_copy(update={"exam": exam})


def sat(run: Run, name: str, target: Target, split: Split, size: SuiteSize = SIZE) -> Counted:
    """The exam of one model, counted."""
    suite = build_suite(split, size, seed=run.settings.run.seed)
    played = sit(lambda scenarios: run.players.play(scenarios, target), suite)
    return Counted(exam=report(played, target=name, split=split), clusters=clusters_of(played))


def clusters_of(played: Played) -> Clusters:
    """How often the dialogues about one task came to the same."""
    clusters: Clusters = {}
    for metric, each in outcomes(played).items():
        tasks: dict[str, list[bool]] = defaultdict(list)
        for task, happened in each:
            tasks[task].append(happened)
        clusters[metric] = dict(sorted(Counter(f"{sum(task)} of {len(task)}" for task in tasks.values()).items()))
    return clusters


def stored(out: Path, split: Split) -> dict[str, dict[int, Counted]]:
    """What was counted, by model and base seed, in the table's order."""
    found: dict[str, dict[int, Counted]] = defaultdict(dict)
    for file in sorted(out.glob(f"seed-*-{split}/*.json")):
        counted = Counted.model_validate_json(file.read_text())
        found[counted.exam.target][int(file.parent.name.split("-")[1])] = counted
    order = ["base", *ABLATIONS, *sorted(name for name in found if name.startswith("self-play"))]
    return {name: found[name] for name in order if name in found}


def table(counted: Mapping[str, Mapping[int, Counted]]) -> str:
    """Rates pooled over bases as Markdown, a column for each model; a cell is percent [95 % interval]."""
    headings = [name.replace("round 1", "round 1 (both)") for name in counted]
    bases = "| base seeds | " + " | ".join(str(len(seeds)) for seeds in counted.values()) + " |"
    return _markdown(headings, [pooled(list(seeds.values())) for seeds in counted.values()], bases)


def by_base(counted: Mapping[str, Mapping[int, Counted]], name: str) -> str:
    """One model's rates as Markdown, a column for each base."""
    return _markdown([f"{name}, base {seed}" for seed in counted[name]], [pooled([c]) for c in counted[name].values()])


def pooled(counted: Sequence[Counted]) -> dict[str, Rate]:
    """Rates over several bases; where the counts by task are known, with intervals that are fair to them."""
    rates = merged([each.exam for each in counted], target="").rates
    clustered: dict[str, Rate] = {}
    for metric in counted[0].clusters:
        tasks = [(came_to, of) for each in counted for came_to, of in each.clusters[metric].items()]
        clustered[metric] = clustered_rate(pair for came_to, of in tasks for pair in [_pair(came_to)] * of)
    return rates | clustered


def _pair(came_to: str) -> tuple[int, int]:
    happened, draws = came_to.split(" of ")
    return int(happened), int(draws)


def _markdown(headings: Sequence[str], columns: Sequence[Mapping[str, Rate]], *first: str) -> str:
    lines = [f"| % [95 %] | {' | '.join(headings)} |", "|---" * (len(columns) + 1) + "|", *first]
    lines += [
        f"| {label} | " + " | ".join(str(rates[key]) for rates in columns) + " |" for key, label in LABELS.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
