"""What things cost on this machine: seconds, CPU seconds and memory of whole commands, and three ratios.

    python benchmarks/cost.py                                   (everything: half an hour on two cores)
    python benchmarks/cost.py --only decode step                (seconds)
    python benchmarks/cost.py --only smoke --set breaker.steps=4

| name | what is measured |
|---|---|
| smoke, default | `tsgb train-local` with that preset, split by stage: a stage ends when its record is written |
| tests | the test suite |
| processes | `tsgb train-local --preset smoke` with one and with two processes |
| decode | the engine's batched decoding against transformers' generate, the same words |
| step | a training step against its floor: its matrix products at the speed at which this machine multiplies |

Commands are watched from outside. Memory is the sum over the command's processes, so that pages they share count twice.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import GenerationConfig

from tsgb import surrogate
from tsgb.breakers.examples import breaker_example, retain_example, twin_example
from tsgb.cli.output import print_rows
from tsgb.environments.office import attacks
from tsgb.environments.office.expert import expert_messages
from tsgb.environments.office.tasks import READING, draw_task
from tsgb.environments.registry import environment
from tsgb.models.loading import Base, load_base
from tsgb.models.rendering import encode
from tsgb.records.dialogue import Message, Scenario, Trajectory
from tsgb.records.training import Example
from tsgb.rollouts.engines.base import Sampling
from tsgb.rollouts.engines.hf import HFEngine
from tsgb.settings import BreakerSettings
from tsgb.training.defender import Defender
from tsgb.training.plan import TrainingPlan

Row = dict[str, Any]
Rows = list[Row]
ROOT = Path(__file__).resolve().parents[1]
TICKS_PER_SECOND, PAGE_BYTES = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
BATCH, NEW_TOKENS = 96, 32
"""Dialogues decoded together, and how far."""


def main() -> None:
    """Measure what was asked for, one table each."""
    arguments = parse()
    for name in arguments.only:
        print_rows(BENCHMARKS[name](arguments), as_json=arguments.json, title=name)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.FIELD=VALUE", help="for train-local")
    parser.add_argument("--tests", default="tests", help="which tests")
    parser.add_argument("--steps", type=int, default=10, help="repetitions of decode and step")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


@dataclass(frozen=True)
class Sample:
    """A command at one moment."""

    at: float
    """Seconds since 1970, as file times are."""
    cpu: float
    """CPU seconds so far."""
    memory: int
    """Bytes in memory."""


@dataclass
class Watched:
    """A command in a session of its own, and what it took from moment to moment."""

    command: Sequence[str]
    samples: list[Sample] = field(default_factory=list)
    _cpu: dict[int, float] = field(default_factory=dict)

    def run(self) -> Watched:
        """Run it to its end, looking ten times a second; raises CalledProcessError if it fails."""
        with subprocess.Popen(self.command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True) as process:
            self.samples.append(Sample(time.time(), 0.0, 0))
            while process.poll() is None:
                self._look(process.pid)
                time.sleep(0.1)
            self.samples.append(Sample(time.time(), self.samples[-1].cpu, 0))
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, self.command)
        return self

    def row(self, what: str, begin: float | None = None, end: float | None = None) -> Row:
        """Wall seconds, CPU seconds and peak memory between two moments."""
        begin, end = begin or self.samples[0].at, end or self.samples[-1].at
        last = self._latest(end)
        memory = max((sample.memory for sample in self.samples if begin <= sample.at <= end), default=last.memory)
        cpu = last.cpu - self._latest(begin).cpu
        return {"what": what, "wall s": end - begin, "CPU s": cpu, "peak MiB": memory / 2**20}

    def _latest(self, moment: float) -> Sample:
        return max((sample for sample in self.samples if sample.at <= moment), key=lambda sample: sample.at)

    def _look(self, session: int) -> None:
        memory = 0
        for pid, fields in members(session):
            self._cpu[pid] = (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
            memory += int(fields[21]) * PAGE_BYTES
        self.samples.append(Sample(time.time(), sum(self._cpu.values()), memory))


def members(session: int) -> Iterator[tuple[int, list[str]]]:
    """The living processes of a session with the fields of proc(5)'s stat from the third on."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            yield int(folder.name), fields


def train_local(preset: str, arguments: argparse.Namespace) -> Rows:
    """A whole run, then its stages, those of all rounds together."""
    with TemporaryDirectory() as storage:
        watched = _watched_run(storage, preset, arguments)
        rows: Rows = [watched.row(f"train-local --preset {preset}")]
        begin = watched.samples[0].at
        for stage, end in [("start", _written(Path(storage, "runs/local/run.json"))), *_stages(storage)]:
            _add(rows, watched.row(stage, begin, end))
            begin = end
    return rows


def _watched_run(storage: str, preset: str, arguments: argparse.Namespace, *more: str) -> Watched:
    changes = [part for change in arguments.set for part in ("--set", change)]
    tsgb = str(Path(sys.executable).with_name("tsgb"))
    return Watched([tsgb, "train-local", "--storage", storage, "--preset", preset, *changes, *more]).run()


def _stages(storage: str) -> list[tuple[str, float]]:
    """Every finished stage with the moment at which it was, in time."""
    records = Path(storage, "runs/local/rounds").glob("*/*.json")
    return sorted(((record.stem, _written(record)) for record in records), key=lambda pair: pair[1])


def _written(file: Path) -> float:
    return file.stat().st_mtime


def _add(rows: Rows, row: Row) -> None:
    """Add a stage's row, or what it took to the row that the stage has already."""
    same = next((known for known in rows if known["what"] == row["what"]), None)
    if same is None:
        rows.append(row)
        return
    for key, combine in (("wall s", sum), ("CPU s", sum), ("peak MiB", max)):
        same[key] = combine((same[key], row[key]))


def tests(arguments: argparse.Namespace) -> Rows:
    """The test suite."""
    return [Watched([sys.executable, "-m", "pytest", "-q", arguments.tests]).run().row(f"pytest {arguments.tests}")]


def processes(arguments: argparse.Namespace) -> Rows:
    """The same run by one process and by two."""
    rows: Rows = []
    for count in ("1", "2"):
        with TemporaryDirectory() as storage:
            watched = _watched_run(storage, "smoke", arguments, "--processes", count)
            rows.append(watched.row(f"train-local --preset smoke --processes {count}"))
    return [*rows, _ratio("one process takes, against two", rows[0], rows[1])]


def decode(arguments: argparse.Namespace) -> Rows:
    """The same dialogues continued by the engine and by generate."""
    torch.set_num_threads(1)
    base, office = load_base(surrogate.shipped()), environment("office")
    dialogues = [draw_task(READING[seed % len(READING)], "train", seed).messages for seed in range(BATCH)]
    engine, sampling = HFEngine(base, batch_size=BATCH), Sampling(max_new_tokens=NEW_TOKENS)
    complete = partial(engine.complete, dialogues, tools=office.tools, adapter=None, sampling=sampling)
    rows: Rows = [
        _timed("engine", complete, arguments.steps),
        _timed("transformers generate", partial(_generate, base, dialogues), arguments.steps),
    ]
    return [*rows, _ratio("generate takes, against the engine", rows[1], rows[0])]


def _generate(base: Base, dialogues: Sequence[Sequence[Message]]) -> None:
    """What a short script would do: one padded batch, greedy, until the longest has ended."""
    tools = environment("office").tools
    rendered = [encode(base.tokenizer, each, tools, add_generation_prompt=True).ids for each in dialogues]
    batch = base.tokenizer.pad({"input_ids": [list(ids) for ids in rendered]}, return_tensors="pt")
    config = GenerationConfig(
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        eos_token_id=base.tokenizer.eos_token_id,
        pad_token_id=base.tokenizer.pad_token_id,
    )
    base.tokenizer.batch_decode(base.model.generate(**batch, generation_config=config))


def step(arguments: argparse.Namespace) -> Rows:
    """A training step of the default size by one process, and the time that its matrix products alone would take."""
    torch.set_num_threads(1)
    base = load_base(surrogate.shipped())
    with Defender(base, list(expert_examples(base)), default_plan(arguments.steps + 2)) as defender:
        defender.step()
        rows: Rows = [_timed("training step", defender.step, arguments.steps)]
        with FlopCounterMode(display=False) as counter:
            defender.step()
    flops = counter.get_total_flops()
    speed = _multiplications_per_second()
    rows.append({"what": f"its floor: {flops / 1e9:.3g} GFLOP at {speed / 1e9:.3g} GFLOP/s", "wall s": flops / speed})
    return [*rows, _ratio("a step takes, against its floor", rows[0], rows[1])]


def default_plan(steps: int) -> TrainingPlan:
    """The default settings' sizes."""
    breaker = BreakerSettings()
    return TrainingPlan(
        steps=steps,
        breaker_batch=breaker.breaker_batch,
        retain_batch=breaker.retain_batch,
        twin_batch=breaker.twin_batch,
        layers=breaker.target_layers,
        retain_layers=(*breaker.target_layers, -1),
        rank=breaker.rank,
        lora_alpha=breaker.alpha,
        adapter_layers=breaker.adapter_layers,
    )


def expert_examples(base: Base) -> Iterator[Example]:
    """Examples of every kind from experts' dialogues, as long as those of a run."""
    tools = environment("office").tools
    for seed in range(100):
        kind = READING[seed % len(READING)]
        attacked = attacks.draw_injected(kind, "train", seed, family="important", phrase="important: {}!")
        clean, fell = _expert(draw_task(kind, "train", seed)), _expert(attacked, obey=True)
        yield retain_example(base.tokenizer, tools, clean)
        for example in (
            breaker_example(base.tokenizer, tools, fell, clean.messages),
            twin_example(base.tokenizer, tools, fell, clean),
        ):
            if example is not None:
                yield example


def _expert(scenario: Scenario, *, obey: bool = False) -> Trajectory:
    return Trajectory(scenario=scenario, target="base", messages=expert_messages(scenario, obey=obey))


def _multiplications_per_second(size: int = 512, seconds: float = 1.0) -> float:
    """Floating-point operations per second of one thread multiplying square fp32 matrices, two per multiplication."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    times: list[float] = []
    while sum(times) < seconds:
        begin = time.perf_counter()
        torch.mm(left, right)
        times.append(time.perf_counter() - begin)
    return 2 * size**3 / median(times)


def _timed(what: str, work: Callable[[], object], repetitions: int) -> Row:
    """The median of some repetitions."""
    walls, cpus = [], []
    for _ in range(repetitions):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return {"what": what, "wall s": median(walls), "CPU s": median(cpus)}


def _ratio(what: str, one: Row, other: Row) -> Row:
    return {"what": what} | {
        key: f"{value / other[key]:.2f} ×" for key, value in one.items() if key in other and key != "what"
    }


BENCHMARKS: dict[str, Callable[[argparse.Namespace], Rows]] = {
    "smoke": partial(train_local, "smoke"),
    "default": partial(train_local, "default"),
    "tests": tests,
    "processes": processes,
    "decode": decode,
    "step": step,
}


if __name__ == "__main__":
    main()
