"""What checkpoints cost: waiting, bandwidth, requests, restarts, memory, long chains, and the exact elastic mode.

    python benchmarks/checkpoints.py                                  (some minutes; needs 3 GB of memory and of disk)
    python benchmarks/checkpoints.py --only bandwidth --storage s3://bucket/prefix
    python benchmarks/checkpoints.py --only stall --megabytes 60

Every table holds what it is compared with, measured in the same run; read the ratios, the seconds are those of one
machine. Times are medians. Leaves out: GPUs, from which a state would first be copied to the host, and networks.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

import torch
from cost import Row, Rows, default_plan, expert_examples
from kills import walking_job

import tsgb.storage.local
from tsgb import surrogate
from tsgb.checkpoints import acquire, publish, resume
from tsgb.checkpoints.background import Background
from tsgb.checkpoints.chain import chain
from tsgb.checkpoints.encoding import digest_of, encode
from tsgb.checkpoints.heads import move_head, read_head
from tsgb.checkpoints.layout import MANIFEST, commit_key
from tsgb.checkpoints.manifest import describe
from tsgb.cli.output import print_rows
from tsgb.models.loading import load_base
from tsgb.records.run import SCHEMA, Kept, Lease, Manifest
from tsgb.settings import Secrets, StorageSettings
from tsgb.storage import LocalStore, Store, open_store
from tsgb.training.defender import Defender
from tsgb.training.optimizer import OptimizerState, Room
from tsgb.training.rehearsal import Leg, rehearse
from tsgb.training.snapshot import Snapshot, Stillness
from tsgb.training.zero import Stage

RUN, STEP_S, TENSORS = "benchmark", 5.0, 448
"""Name of the run, length of a large model's step, and tensors of its adapter (7 modules, 32 blocks, A and B)."""


def main() -> None:
    """Measure what was asked for, one table each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    parser.add_argument("--storage", help="folder or URL; a temporary folder if not given")
    parser.add_argument("--megabytes", type=int, default=600, help="a large model's trainable state")
    parser.add_argument("--steps", type=int, default=10, help="repetitions")
    parser.add_argument("--commits", type=int, default=10_000, help="length of the chain")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--resume", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.resume:
        take_a_resumed_step(arguments.resume)
        return
    torch.set_num_threads(1)
    for name in arguments.only:
        print_rows(BENCHMARKS[name](arguments), as_json=arguments.json, title=name)


class Committing:
    """A training of `RUN` in a store, committed step by step."""

    def __init__(self, store: Store) -> None:
        self.store, self.lease = store, acquire(store, RUN, "benchmark")
        self.took_s: list[float] = []

    def commit(self, snapshot: Snapshot) -> None:
        """What `worker.commits` does with a snapshot."""
        begin = time.perf_counter()
        with TemporaryDirectory() as folder:
            snapshot.save(Path(folder))
            place: dict[str, Any] = {"round_number": 0, "stage": "train", "step": snapshot.step}
            publish(self.store, self.lease, folder=Path(folder), keep_last=3, **place)
        self.took_s.append(time.perf_counter() - begin)


@contextmanager
def store_of(arguments: argparse.Namespace) -> Iterator[Store]:
    """The store that was asked for, or a folder that is gone afterwards."""
    with TemporaryDirectory() as folder:
        yield open_store(arguments.storage or folder, StorageSettings(), Secrets())


def stall(arguments: argparse.Namespace) -> Rows:
    """How much longer a step takes while the one before is committed, and how long it waits for its copy."""
    with store_of(arguments) as store:
        small = _small_stall(store, arguments.steps)
    with store_of(arguments) as store:
        return [*small, *_large_stall(store, arguments.megabytes)]


def _small_stall(store: Store, steps: int) -> Rows:
    """The shipped surrogate: steps alone and steps with a commit beside them, in turn."""
    base, committing = load_base(surrogate.shipped()), Committing(store)
    alone: list[float] = []
    beside: list[float] = []
    with Defender(base, list(expert_examples(base)), default_plan(2 * steps + 2)) as defender:
        defender.step()
        with Background(committing.commit) as background:
            for _ in range(steps):
                background.wait()
                alone.append(_seconds(defender.step))
                begin = time.perf_counter()
                background.offer(defender.snapshot)
                defender.step()
                beside.append(time.perf_counter() - begin)
        waited = defender.still.waited_s / steps
    return [
        {"what": "surrogate: a step alone", "s": median(alone)},
        {
            "what": "a step with a commit beside it",
            "s": median(beside),
            "of a step": _share(median(beside), median(alone)),
        },
        {"what": "of it waiting for the copy", "s": waited, "of a step": _share(waited, median(alone))},
        {
            "what": "a commit",
            "s": median(committing.took_s),
            "of a step": _share(median(committing.took_s), median(alone)),
        },
    ]


class Large:
    """A trainable state of some megabytes, a third of them adapter."""

    def __init__(self, megabytes: int) -> None:
        self.vectors = [torch.rand(megabytes * 10**6 // 12) for _ in range(3)]
        self.still, self._room = Stillness(), Room()

    def snapshot(self) -> Snapshot:
        """As a defender takes it."""
        return Snapshot(self.still, self._copy, (), name="guard", digest="d")

    def _copy(self) -> OptimizerState:
        names = ("adapter", "exp_avg", "exp_avg_sq")
        kept = [self._room.keep(name, vector) for name, vector in zip(names, self.vectors, strict=True)]
        tensors = [{f"t{n:03d}": part for n, part in enumerate(vector.chunk(TENSORS))} for vector in kept]
        return OptimizerState(1, tensors[0], tensors[1], tensors[2], 1, 1e-3, 0)


def _large_stall(store: Store, megabytes: int) -> Rows:
    """A step that computes elsewhere for 5 s: does its end wait for the copy of the step before?"""
    large, committing, offers = Large(megabytes), Committing(store), list[float]()
    with Background(committing.commit) as background:
        for _ in range(3):
            background.wait()
            offers.append(_seconds(lambda: background.offer(large.snapshot)))
            time.sleep(STEP_S)
            with large.still.changing():
                pass
    waited = large.still.waited_s / 3 + median(offers)
    copy = _seconds(large._copy)
    return [
        {"what": f"{megabytes} MB, a step of {STEP_S:g} s: waiting", "s": waited, "of a step": _share(waited, STEP_S)},
        {"what": "a copy of it, while the next gradient is computed", "s": copy, "of a step": _share(copy, STEP_S)},
        {
            "what": "a commit of it",
            "s": median(committing.took_s),
            "of a step": _share(median(committing.took_s), STEP_S),
        },
    ]


def bandwidth(arguments: argparse.Namespace) -> Rows:
    """A commit of a large state against a plain copy of its files, flushed."""
    with store_of(arguments) as store, TemporaryDirectory() as name:
        folder, lease = Path(name, "state"), acquire(store, RUN, "benchmark")
        folder.mkdir()
        Large(arguments.megabytes).snapshot().save(folder)
        place: dict[str, Any] = {"round_number": 0, "stage": "train", "folder": folder}
        copied = median(_seconds(lambda at=at: _plain_copy(folder, Path(name, f"copy-{at}"))) for at in range(3))
        committed = median(_seconds(lambda at=at: publish(store, lease, step=at, **place)) for at in range(3))
        fetched = median(_seconds(lambda at=at: _fetch(store, Path(name, f"fetched-{at}"))) for at in range(3))
    rows = [
        ("plain copy and fsync", copied),
        ("commit: hashed, copied, flushed", committed),
        ("resume: copied, hashed", fetched),
    ]
    return [{"what": what, "MB/s": arguments.megabytes / s, "against plain": _share(s, copied)} for what, s in rows]


def _plain_copy(source: Path, target: Path) -> None:
    target.mkdir()
    for path in source.iterdir():
        with (target / path.name).open("wb") as copy, path.open("rb") as file:
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
    shutil.rmtree(target)


def _fetch(store: Store, folder: Path) -> None:
    resume(store, RUN, 0, "train", folder)
    shutil.rmtree(folder)


class Counted:
    """A store that counts what it is asked for, a file being a request."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.asked[name] += len(args[0]) if name == "put_files" else 1
            return method(*args, **kwargs)

        return counted


def requests(arguments: argparse.Namespace) -> Rows:
    """What a store is asked for by one checkpoint in the middle of a training, the oldest being deleted."""
    with store_of(arguments) as store:
        counted: Any = Counted(store)
        committing, large = Committing(counted), Large(1)
        for _ in range(6):
            counted.asked.clear()
            committing.commit(large.snapshot())
    total = counted.asked.total()
    return [
        *({"what": name, "requests": n} for name, n in sorted(counted.asked.items())),
        {"what": "all", "requests": total},
    ]


def restart(arguments: argparse.Namespace) -> Rows:
    """From the start of a process to the end of its first resumed step, and what the libraries alone take to load."""
    with TemporaryDirectory() as folder:
        base, committing = load_base(surrogate.shipped()), Committing(LocalStore(Path(folder)))
        with Defender(base, list(expert_examples(base)), default_plan(9)) as defender:
            defender.step()
            committing.commit(defender.snapshot())
        imports = [sys.executable, "-c", "import torch, transformers, peft"]
        again = [sys.executable, __file__, "--resume", folder]
        rows = [
            (what, median(_seconds(partial(subprocess.run, command, check=True)) for _ in range(3)))
            for what, command in (
                ("importing torch, transformers and peft", imports),
                ("process start to first resumed step", again),
            )
        ]
    return [{"what": what, "s": s, "against imports": _share(s, rows[0][1])} for what, s in rows]


def take_a_resumed_step(storage: Path) -> None:
    """What a replacement does first: read, check, load, step."""
    base = load_base(surrogate.shipped())
    with Defender(base, list(expert_examples(base)), default_plan(9)) as defender, TemporaryDirectory() as folder:
        resume(LocalStore(storage), RUN, 0, "train", Path(folder))
        defender.restore(Path(folder))
        defender.step()


def memory(arguments: argparse.Namespace) -> Rows:
    """The most memory that commits take beside the trainable state itself."""
    large, size = Large(arguments.megabytes), arguments.megabytes * 10**6
    with store_of(arguments) as store, _watched_memory() as peak:
        committing = Committing(store)
        for _ in range(2):
            committing.commit(large.snapshot())
    return [
        {
            "what": f"{arguments.megabytes} MB committed twice",
            "peak more MB": peak[0] / 1e6,
            "of the state": _share(peak[0], size),
        }
    ]


@contextmanager
def _watched_memory() -> Iterator[list[int]]:
    """The most by which this process's own memory (not that of files it maps) grows inside the block, in bytes."""
    begin, peak, over = _anonymous(), [0], Event()

    def watch() -> None:
        while not over.wait(0.002):
            peak[0] = max(peak[0], _anonymous() - begin)

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def _anonymous() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def long_chain(arguments: argparse.Namespace) -> Rows:
    """A chain of many commits walked and every manifest checked, against reading the same files."""
    with TemporaryDirectory() as folder:
        store = LocalStore(Path(folder))
        keys = _make_chain(store, acquire(store, RUN, "benchmark"), arguments.commits)
        rows = [
            ("reading the manifests", _seconds(lambda: [store.get(key) for key in keys])),
            ("walking and checking the chain", _seconds(lambda: list(chain(store, RUN)))),
            ("listing all keys", _seconds(lambda: store.list(""))),
        ]
    return [
        {"what": f"{arguments.commits} commits: {what}", "s": s, "against reading": _share(s, rows[0][1])}
        for what, s in rows
    ]


def _make_chain(store: LocalStore, lease: Lease, length: int) -> list[str]:
    """Commits of one small file each, and one head that names them; not flushed. Returns the manifests' keys."""
    sync, tsgb.storage.local._sync = tsgb.storage.local._sync, lambda path: None
    line: list[Kept] = []
    with TemporaryDirectory() as folder:
        Path(folder, "state").write_bytes(b"state")
        place: dict[str, Any] = {
            "schema": SCHEMA,
            "run": RUN,
            "round": 0,
            "stage": "train",
            "epoch": lease.epoch,
            "files": describe(Path(folder)),
        }
        for step in range(length):
            parent = line[0].commit if line else None
            manifest = Manifest(step=step, nonce=f"{step:08x}", parent=parent, **place)
            store.put_new(commit_key(RUN, manifest.commit, "state"), b"state")
            store.put_new(commit_key(RUN, manifest.commit, MANIFEST), encode(manifest))
            line.insert(0, Kept(commit=manifest.commit, manifest_digest=digest_of(encode(manifest))))
    seen = read_head(store, RUN)
    assert seen.head is not None
    newest = {"seq": 1, "commit": line[0].commit, "manifest_digest": line[0].manifest_digest, "kept": tuple(line[1:])}
    move_head(store, RUN, seen, seen.head.model_copy(update=newest), granted=False)
    tsgb.storage.local._sync = sync
    return [commit_key(RUN, each.commit, MANIFEST) for each in line]


def elastic(arguments: argparse.Namespace) -> Rows:
    """Steps of two ranks whose sums have the bits of one process, against DeepSpeed's own sums, start-up taken off."""
    rows: Rows = []
    for stage in (1, 2, 3):
        plain, exact = (_steps_take(stage, exact, arguments.steps) for exact in (False, True))
        rows.append(
            {
                "what": f"2 ranks, ZeRO {stage}",
                "plain s a step": plain,
                "exact s a step": exact,
                "ratio": _share(exact, plain),
            }
        )
    return rows


def _steps_take(stage: Stage, exact: bool, steps: int) -> float:
    few, many = (_seconds(partial(_trained, stage, exact, until)) for until in (1, 1 + steps))
    return (many - few) / steps


def _trained(stage: Stage, exact: bool, until: int) -> None:
    with TemporaryDirectory() as folder:
        rehearse(walking_job(Path(folder), until), [Leg(2, stage, until, exact=exact)])


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.3g} ×"


BENCHMARKS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "stall": stall,
    "bandwidth": bandwidth,
    "requests": requests,
    "restart": restart,
    "memory": memory,
    "long_chain": long_chain,
    "elastic": elastic,
}


if __name__ == "__main__":
    main()
