"""Kills a tiny run at chosen and at random moments, goes on, and compares everything with a run that was left alone.

    python benchmarks/kills.py --kills 100 --seed 0      (about 15 CPU-minutes)
    python benchmarks/kills.py --walks 20                (trainings over worlds of 1 to 4 ranks and ZeRO 1, 2, 3)

A first run is killed before and after the record of every stage of its two rounds, further ones at random moments:
SIGKILL, one in eight times SIGTERM, to the process or to it and its helpers. A rare moment is met by letting the
process signal itself there; product code knows nothing of it. Compared are all stage and part records, all they name
(trajectories, examples, training states, attackers, bundles), byte by byte; commits' names lose the epoch and the
nonce. A walk dies in every world but its last, and its digest is compared with that of one process.

Leaves out: power cuts (`fsync` is believed), stores other than a folder, and processes started anew: they are forked
from one that has imported everything and computed nothing, which saves seconds a kill.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Literal

from cost import members

import tsgb.storage.local
import tsgb.training.state
from tsgb import surrogate
from tsgb.cli.main import run as command_line
from tsgb.cli.output import print_rows
from tsgb.errors import InputError
from tsgb.records.training import Example
from tsgb.storage import LocalStore
from tsgb.training.attacker import Attacker
from tsgb.training.engine import Engine
from tsgb.training.plan import TrainingPlan
from tsgb.training.rehearsal import ALL, Death, Job, Leg, newest, rehearse
from tsgb.worker.local import train_local  # noqa: F401  # loaded before the forks

TINY = {
    "run.name": "tiny",
    "run.rounds": 2,
    "rollout.episodes": 24,
    "rollout.group_size": 2,
    "rollout.ordinary": 80,
    "breaker.steps": 8,
    "breaker.breaker_batch": 2,
    "breaker.retain_batch": 2,
    "breaker.twin_batch": 2,
    "attacker.iterations": 2,
    "attacker.mutation_rounds": 1,
    "evaluation.benign": 4,
    "evaluation.attacked": 4,
    "evaluation.harmful": 2,
    "evaluation.fresh_episodes": 0,
}
"""Every stage of two rounds, as small as it gets."""
COMMIT = re.compile(rb"e\d+/(r\d+-[a-z]+-s\d+)-[0-9a-f]{8}")
"""A commit's name: its epoch counts the writers, its end is random; what is between says what it holds."""
CHECKSUM = re.compile(rb'"checksum": "[0-9a-f]{64}"')
"""Of a record that names commits, by their random ends too."""
STAGES = 15
"""Stage records of two rounds and the final exam."""


@dataclass(frozen=True)
class Moment:
    """A place in the program at which a process can be made to signal itself."""

    owner: Any
    name: str
    when: Literal["before", "after"]
    concerns: str = ""
    """A pattern that the key must match."""

    def arm(self, nth: int, number: int) -> None:
        """Have this process signalled when the moment comes for the nth time."""
        call, seen = getattr(self.owner, self.name), count(1)

        def armed(*args: Any, **kwargs: Any) -> Any:
            met = (not self.concerns or re.search(self.concerns, args[1])) and next(seen) == nth
            if met and self.when == "before":
                os.kill(os.getpid(), number)
            result = call(*args, **kwargs)
            if met and self.when == "after":
                os.kill(os.getpid(), number)
            return result

        setattr(self.owner, self.name, armed)


RECORD = r"/rounds/\d+/[a-z]+\.json$"
MOMENTS = {
    "before the record of a stage": Moment(LocalStore, "put_new", "before", RECORD),
    "after the record of a stage": Moment(LocalStore, "put_new", "after", RECORD),
    "while a defender's gradient is computed": Moment(Engine, "gradients", "before"),
    "between a gradient and its step": Moment(Engine, "gradients", "after"),
    "before an attacker's update": Moment(Attacker, "_epochs", "before"),
    "after an attacker's update": Moment(Attacker, "update", "after"),
    "after the record of a part": Moment(LocalStore, "put_new", "after", "/shard-"),
    "between tensor files": Moment(tsgb.training.state, "save_file", "after"),
    "between a commit's files": Moment(LocalStore, "put_file", "after", "/commits/"),
    "inside a file's copy": Moment(tsgb.storage.local, "_copy", "after"),
    "before the manifest": Moment(LocalStore, "put_new", "before", r"/manifest\.json$"),
    "between manifest and head": Moment(LocalStore, "put_new", "after", r"/manifest\.json$"),
    "before the head is replaced": Moment(LocalStore, "_locked", "before"),
    "after the head has moved": Moment(LocalStore, "compare_and_set", "after", "/HEAD$"),
    "while old commits are deleted": Moment(LocalStore, "delete", "before", "/commits/"),
    "after an old commit's manifest is deleted": Moment(LocalStore, "delete", "after", r"/commits/.*manifest\.json$"),
}
ANY = "any time"
BOUNDARIES = tuple(MOMENTS)[:2]


@dataclass(frozen=True)
class Kill:
    """When and how a process is ended."""

    moment: str
    nth: int = 1
    number: int = signal.SIGKILL
    after_s: float = 0.0
    group: bool = False
    processes: int = 1


def main() -> None:
    """Kill, go on, compare; the exit code is 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--walks", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=[*MOMENTS, ANY], help="these moments, and no sweep over stages")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        rows = killed(arguments, Path(folder)) if arguments.kills else []
        rows += walked(arguments, Path(folder)) if arguments.walks else []
    print_rows(rows, as_json=arguments.json, title=f"seed {arguments.seed}")
    sys.exit(any(row["differ"] for row in rows))


def killed(arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Kills by moment, and how many of the runs they fell upon ended otherwise than the one that was left alone."""
    _end_well(folder / "whole", processes=1)
    whole, random = contents(folder / "whole"), Random(arguments.seed)
    kills = drawn(random, arguments.only) if arguments.only else swept(random)
    met: Counter[tuple[str, str]] = Counter()
    runs = differ = 0
    while met.total() < arguments.kills:
        runs += 1
        storage = folder / f"run-{runs}"
        while met.total() < arguments.kills and (kill := next(kills)) and _start(storage, kill):
            met[kill.moment, signal.Signals(kill.number).name] += 1
            print(f"{met.total()}: {kill.moment}", file=sys.stderr, flush=True)
        _end_well(storage, processes=random.choice((1, 2)))
        differ += _differs(whole, contents(storage), runs)
    rows = [{"moment": f"{moment}, {number}", "times": times, "differ": ""} for (moment, number), times in met.items()]
    return [*sorted(rows, key=str), {"moment": f"all, in {runs} runs", "times": met.total(), "differ": differ}]


def swept(random: Random) -> Iterator[Kill]:
    """Both sides of every stage's record, then moments at random."""
    for _ in range(STAGES):
        yield from map(Kill, BOUNDARIES)
    yield from drawn(random, [*MOMENTS, ANY])


def drawn(random: Random, moments: list[str]) -> Iterator[Kill]:
    """Moments at random, all equally often, so that rare ones are met."""
    while True:
        yield Kill(
            moment=random.choice(moments),
            nth=random.randint(1, 5),
            number=signal.SIGTERM if random.random() < 1 / 8 else signal.SIGKILL,
            after_s=random.uniform(0, 8),
            group=random.random() < 0.5,
            processes=random.choice((1, 1, 2)),
        )


def _start(storage: Path, kill: Kill) -> bool:
    """Start the run or go on with it; whether the signal ended it."""
    pid = _fork(storage, kill)
    if kill.moment == ANY:
        time.sleep(kill.after_s)
        _signal(pid, kill)
    ended = _wait(pid)
    _require_gone(pid)
    if ended not in (0, -kill.number, 128 + kill.number):
        raise RuntimeError(f"{kill} ended with {ended}: {(storage / 'said').read_text()}")
    return ended != 0


def _signal(pid: int, kill: Kill) -> None:
    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        (os.killpg if kill.group else os.kill)(pid, kill.number)


def _end_well(storage: Path, *, processes: int) -> None:
    if code := _wait(_fork(storage, Kill("never", processes=processes))):
        raise RuntimeError(f"{storage} ended with {code}: {(storage / 'said').read_text()}")


def _fork(storage: Path, kill: Kill) -> int:
    """A process in a session of its own that runs `tsgb train-local`; its id."""
    if pid := os.fork():
        time.sleep(0.05)  # until it leads its session
        return pid
    os.setsid()
    storage.mkdir(exist_ok=True)
    said = os.open(storage / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.chdir(storage)
    if kill.moment in MOMENTS:
        MOMENTS[kill.moment].arm(kill.nth, kill.number)
    settings = TINY | {"storage.root": storage, "run.processes": kill.processes}
    flags = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    os._exit(command_line(["train-local", *flags]))


def _wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _require_gone(session: int) -> None:
    """Wait until the helpers have followed their parent; raises TimeoutError if they do not."""
    deadline = time.monotonic() + 60
    while any(members(session)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes of session {session} are still there")
        time.sleep(0.02)


def contents(storage: Path) -> dict[str, bytes]:
    """All that a run has recorded, and all that the records name, by names without writers."""
    run = storage / "runs/tiny"
    recorded = {path.relative_to(run).as_posix(): path.read_bytes() for path in (run / "rounds").rglob("[!.]*.json")}
    played = {path.name: path.read_bytes() for path in (run / "data/blobs").glob("[!.]*")}
    named = {match[0] for data in recorded.values() for match in COMMIT.finditer(data)}
    files = {
        f"{_nameless(commit).decode()}/{path.name}": path.read_bytes()
        for commit in named
        for path in (run / "commits" / commit.decode()).glob("[!.]*")
        if path.name != "manifest.json"
    }
    return {name: _nameless(data) for name, data in recorded.items()} | played | files


def _nameless(data: bytes) -> bytes:
    """Text whose commits do not show who wrote them."""
    return CHECKSUM.sub(b"", COMMIT.sub(rb"\1", data))


def _differs(whole: dict[str, bytes], resumed: dict[str, bytes], number: int) -> bool:
    differing = [name for name in sorted(whole.keys() | resumed.keys()) if whole.get(name) != resumed.get(name)]
    for name in differing:
        print(f"run {number}: {name} differs", file=sys.stderr)
    return bool(differing)


STEPS = 4


def walked(arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Worlds met by size and stage, and how many walks ended with other bits than one process."""
    random, worlds, deaths = Random(arguments.seed), Counter[tuple[int, int]](), 0
    job = walking_job(Path(), STEPS)
    straight = rehearse(replace(job, folder=folder / "straight"), [Leg(1, 1, STEPS)])
    differ = 0
    for number in range(arguments.walks):
        own = replace(job, folder=folder / f"walk-{number}")
        own.folder.mkdir()
        for leg in _legs(random, own):
            end = rehearse(own, [leg]) if not leg.death else _die(own, leg)
            worlds[leg.size, leg.stage] += 1
            deaths += leg.death is not None
        differ += end != straight
        print(f"walk {number}: {'differs' if end != straight else 'equal'}", file=sys.stderr, flush=True)
    rows = [
        {"moment": f"{size} ranks, ZeRO {stage}", "times": worlds[size, stage], "differ": ""}
        for size, stage in sorted(worlds)
    ]
    return [
        *rows,
        {"moment": f"all, in {arguments.walks} walks with {deaths} deaths", "times": worlds.total(), "differ": differ},
    ]


def _legs(random: Random, job: Job) -> Iterator[Leg]:
    """Worlds in each of which somebody dies, until one may live."""
    for number in count():
        done = newest(job.folder)[0]
        size, stage = random.randint(1, 4), random.choice((1, 2, 3))
        if done == STEPS or number == 2:
            yield Leg(size, stage, STEPS)  # type: ignore[arg-type]
            return
        step, moment = random.randint(done + 1, STEPS), random.choice(("before", "after", "saving"))
        yield Leg(size, stage, STEPS, death=Death(random.choice((ALL, *range(size))), step, moment))  # type: ignore[arg-type]


def _die(job: Job, leg: Leg) -> str:
    """A world that dies, perhaps before there is any state to have a digest."""
    try:
        return rehearse(job, [leg])
    except InputError:
        return "none"


def walking_job(folder: Path, steps: int) -> Job:
    """A training of the shipped base, with dropout, on four virtual ranks."""
    return Job(surrogate.shipped(), _examples(), _plan(steps), folder, dropout=0.1)


def _examples() -> tuple[Example, ...]:
    """Tokens that mean nothing, of different lengths."""
    return tuple(_example(number, kind) for kind in ("breaker", "retain") for number in range(4))


def _example(number: int, kind: Any) -> Example:
    ids = tuple((7 * number + 3 * place) % 90 for place in range(8 + number))
    mask = tuple(place > 4 for place in range(len(ids)))
    return Example(id=f"{kind}-{number}", kind=kind, stratum=kind, ids=ids, mask=mask)


def _plan(steps: int) -> TrainingPlan:
    sizes = {"breaker_batch": 3, "retain_batch": 3, "twin_batch": 0, "rank": 2, "parts": 4}
    return TrainingPlan(steps=steps, layers=(1,), retain_layers=(1,), adapter_layers=(0,), **sizes)


if __name__ == "__main__":
    main()
