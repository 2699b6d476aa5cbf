"""The commit protocol, explored: the real code, every order of requests, lost, late and doubled ones.

    python benchmarks/protocol.py --states 1000000       (every scenario up to so many states)
    python benchmarks/protocol.py --broken               (variants that must be caught, and the shortest way to each)

Programs call `acquire`, `publish`, `retain`, `rollback`, `pin`, `sweep_fenced` and `grant` as they are; `exploring.py`
says how they are interleaved and what may go wrong. After every step the invariants of `invariants.py` are looked at.
Each program is one process; what it does not survive ends it. Left out: files of more than one byte, resuming (which
writes nothing but quarantine), `repair` (which is for a person to call when nothing writes).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

from exploring import Program, Search, Simulated, Violation, alone
from invariants import RUN, Invariants, listen, seen_head
from variants import VARIANTS

from tsgb.checkpoints import acquire, grant, pin, publish, retain, rollback, sweep_fenced
from tsgb.cli.output import print_rows
from tsgb.errors import Conflict, Unreachable
from tsgb.records.run import Lease


class Scenario(NamedTuple):
    """Who meets whom, on a run that has some commits already."""

    programs: Mapping[str, Program]
    faults: int = 1
    commits: int = 3
    """Commits on the chain when the programs start, the newest with the steps 0, 1, …"""
    granted: bool = False
    """Whether the store cannot fence, and a manager grants the epochs."""


FOLDER = Path(mkdtemp(prefix="protocol-"))


def state_folder() -> Path:
    """A folder with one small file, which every commit holds."""
    FOLDER.mkdir(exist_ok=True)
    if not (FOLDER / "state").exists():
        (FOLDER / "state").write_bytes(b"1")
    return FOLDER


def commit(store: Any, lease: Lease, step: int, keep_last: int | None = 2) -> str:
    """Publish one step."""
    place = {"round_number": 0, "stage": "train", "step": step}
    done = publish(store, lease, folder=state_folder(), keep_last=keep_last, **place).commit
    store.notes.setdefault("committed", []).append(done)
    return done


def writer(commits: int = 1, granted_epoch: int = 0) -> Program:
    """Acquires the run and publishes; goes on after a request that was not answered."""

    def program(store: Simulated) -> None:
        lease = acquire(store, RUN, store.name, granted_epoch=granted_epoch)
        store.notes["lease"] = lease
        for step in range(10, 10 + commits):
            with suppress(Unreachable, Conflict):
                commit(store, lease, step)

    return program


def retainer(store: Simulated) -> None:
    """Acquires the run, publishes one commit without deleting, and then retains the last."""
    lease = acquire(store, RUN, store.name)
    store.notes["lease"] = lease
    with suppress(Unreachable, Conflict):
        commit(store, lease, 10, keep_last=None)
    retain(store, lease, 1)


def person_going_back(store: Simulated) -> None:
    """Rolls back to the commit before the newest."""
    head = seen_head(store)
    if head is not None and len(head.line) > 1:
        rollback(store, RUN, head.line[1].commit, store.name)


def person_pinning(store: Simulated) -> None:
    """Pins the oldest commit."""
    head = seen_head(store)
    assert head is not None
    oldest = head.line[-1].commit
    pin(store, RUN, oldest)
    store.notes["pinned"] = oldest


def sweeper(store: Simulated) -> None:
    """Sweeps what fenced writers left."""
    sweep_fenced(store, RUN)


def replacement(store: Simulated) -> None:
    """The manager grants an epoch and the new writer uses it."""
    store.fences = False
    lease = grant(store, RUN, store.name)
    writer(1, lease.epoch)(store)


SCENARIOS = {
    "two writers, nothing lost": Scenario({"a": writer(), "b": writer()}, faults=0),
    "two writers": Scenario({"a": writer(2), "b": writer(2)}, faults=2),
    "three writers": Scenario({"a": writer(), "b": writer(), "c": writer()}),
    "first commit, rollback": Scenario({"a": writer(), "person": person_going_back}, commits=1),
    "writer, rollback": Scenario({"a": writer(2), "person": person_going_back}, faults=2),
    "writer, rollback, sweep": Scenario({"a": writer(2), "person": person_going_back, "sweep": sweeper}),
    "two writers, sweep": Scenario({"a": writer(), "b": writer(), "sweep": sweeper}),
    "retainer, writer": Scenario({"a": retainer, "b": writer(2)}, faults=2),
    "writer, pin, sweep": Scenario({"a": writer(2), "pin": person_pinning, "sweep": sweeper}),
    "granted: two writers": Scenario({"a": writer(2, 1), "b": replacement}, faults=2, granted=True),
    "granted: writers, sweep": Scenario({"a": writer(1, 1), "b": replacement, "sweep": sweeper}, granted=True),
}


def search(name: str, *, means: bool = True) -> Search:
    """A scenario, ready to be looked at; without `means` what is promised is looked at, not how."""
    scenario = SCENARIOS[name]

    def prepare(store: Simulated) -> None:
        store.fences = not scenario.granted
        if scenario.granted:
            grant(store, RUN, "manager")
        lease = acquire(store, RUN, "first", granted_epoch=int(scenario.granted))
        for step in range(scenario.commits):
            commit(store, lease, step, keep_last=None)

    start = alone("first", prepare)
    return Search(scenario.programs, Invariants(means=means), scenario.faults, listen, start)


def rows(limit: int, names: list[str]) -> Iterator[dict[str, object]]:
    """One row a scenario, and their sum."""
    total = {"states": 0, "transitions": 0, "runs": 0, "seconds": 0.0, "violations": 0}
    for name in names:
        begin, scenario = time.perf_counter(), search(name)
        story = violation(scenario, limit)
        print(f"{name}: {story or f'all holds in {scenario.counts.states} states'}", file=sys.stderr)
        row = asdict(scenario.counts) | {"seconds": time.perf_counter() - begin, "violations": int(bool(story))}
        total = {key: value + row[key] for key, value in total.items()}
        yield {"scenario": name, **{key: row[key] for key in total}, "complete": scenario.counts.complete}
    yield {"scenario": "all", **total, "complete": ""}


def broken(limit: int) -> Iterator[dict[str, object]]:
    """One row a broken variant: after how many states it was caught."""
    for name, variant in VARIANTS.items():
        with variant.broken():
            scenario = search(variant.scenario, means=False)
            scenario.faults = variant.faults
            story = violation(scenario, limit)
        print(f"{name}: {story}", file=sys.stderr)
        row = {"variant": name, "scenario": variant.scenario, "states": scenario.counts.states}
        yield {**row, "violations": int(bool(story))}


def violation(scenario: Search, limit: int) -> str:
    """What does not hold and the steps that lead there; empty if all holds."""
    try:
        scenario.run(limit)
    except Violation as error:
        return str(error)
    return ""


def main() -> None:
    """Explore, print the counts, and exit with 1 if something does not hold."""
    arguments = parse()
    table = list(broken(arguments.states) if arguments.broken else rows(arguments.states, arguments.only))
    print_rows(table, as_json=arguments.json, title="the commit protocol")
    sys.exit(any(not row["violations"] for row in table) if arguments.broken else bool(table[-1]["violations"]))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, default=1_000_000, help="at most so many a scenario")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--broken", action="store_true", help="the variants that have to be caught")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
