"""A run's store, damaged in one place at a time: whatever is read afterwards is whole, or it is said what is not.

    python benchmarks/corruption.py --cases 10000 --seed 0

A real run of some commits, blobs and a finished stage is made once on disk; every case damages it in one seeded way,
goes on as a writer would (`resume`, or what reads the object that was damaged), and then puts the file back. A case
is *recovered* when what comes out is whole, the parent's state perhaps, and *refused* when an error names the object;
it is *used* when damaged bytes come out as if they were right, which must never happen. Damage that changes nothing
that is read, as to the lease of a store with compare-and-set, is *unread*. Left out: two places at once.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

from tsgb.checkpoints import Journal, acquire, get_blob, publish, put_blob, repair, resume
from tsgb.checkpoints.chain import chain
from tsgb.checkpoints.heads import read_head
from tsgb.checkpoints.layout import commit_key, head_key, lease_key, quarantine_prefix, stage_key
from tsgb.cli.output import print_rows
from tsgb.errors import Conflict, Corrupt, InputError, Missing
from tsgb.records.run import Lease
from tsgb.storage import LocalStore

RUN, COMMITS = "damaged", 4
FILES = ("adapter.safetensors", "optim.safetensors", "probe.safetensors", "manifest.json")
OUTPUTS = {"commit": "e1/r0-attack-s0-00000000", "loss": 0.25}

Damage = Callable[[Path, Path, random.Random], object]
"""Does something to a file, perhaps with another one's bytes."""


def flip(path: Path, other: Path, chance: random.Random) -> None:
    """Turn one bit."""
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, other: Path, chance: random.Random) -> None:
    """Lose the tail."""
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])


def swap(path: Path, other: Path, chance: random.Random) -> None:
    """Exchange two files."""
    data = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(data)


def replace(path: Path, other: Path, chance: random.Random) -> None:
    """Put another file's bytes in its place."""
    path.write_bytes(other.read_bytes())


def remove(path: Path, other: Path, chance: random.Random) -> None:
    """Lose it."""
    path.unlink()


class Run:
    """A run on disk whose right bytes are known."""

    def __init__(self, root: Path) -> None:
        self.store = LocalStore(root / "store")
        self.folder = root / "back"
        lease = acquire(self.store, RUN, "writer")
        self.states: dict[str, dict[str, bytes]] = {}
        self.commits = [self._publish(lease, step, root / "state") for step in range(COMMITS)]
        self.blobs = {put_blob(self.store, RUN, data): data for data in (b"shard %d " % n * 30 for n in range(2))}
        Journal(self.store, RUN).finish(0, "attack", OUTPUTS)
        self.right = self._contents()
        self.head = read_head(self.store, RUN).head

    def _publish(self, lease: Lease, step: int, folder: Path) -> str:
        folder.mkdir(exist_ok=True)
        for name in FILES[:-1]:
            (folder / name).write_bytes(f"{name} of step {step} ".encode() * 20)
        state = {name: (folder / name).read_bytes() for name in FILES[:-1]}
        commit = publish(self.store, lease, round_number=0, stage="train", step=step, folder=folder).commit
        self.states[commit] = state
        return commit

    def path(self, key: str) -> Path:
        """Where an object lies."""
        return self.store.root / key

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Put everything back in the end."""
        try:
            yield
        finally:
            now = self._contents()
            for path in now.keys() - self.right.keys():
                path.unlink()
            for path in (path for path, data in self.right.items() if now.get(path) != data):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.right[path])
            rmtree(self.folder, ignore_errors=True)

    def _contents(self) -> Mapping[Path, bytes]:
        return {path: path.read_bytes() for path in self.store.root.rglob("*") if path.is_file()}

    def goes_on(self) -> str:
        """Resume, and say what came of it: the newest commit, an older one, or a wrong one."""
        resumed = resume(self.store, RUN, 0, "train", self.folder)
        if resumed.manifest is None:
            return "lost"
        commit = resumed.manifest.commit
        if any((self.folder / name).read_bytes() != data for name, data in self.states[commit].items()):
            return "used"
        newest = commit == self.commits[-1]
        return "unread" if newest else "recovered" if resumed.skipped else "used"


def damage_commit(run: Run, damage: Damage, chance: random.Random) -> str:
    """Damage one file of the newest commit, by another of its own or the same of an older one."""
    name = chance.choice(FILES)
    others = [(run.commits[-1], each) for each in FILES if each != name]
    others += [(commit, name) for commit in run.commits[:-1]]
    other = commit_key(RUN, *chance.choice(others))
    damage(run.path(commit_key(RUN, run.commits[-1], name)), run.path(other), chance)
    outcome = run.goes_on()
    marked = run.store.list(quarantine_prefix(RUN)) or "manifest.json" in (name, other.rpartition("/")[2])
    return outcome if marked else "used"


def damage_head(run: Run, damage: Damage, chance: random.Random) -> str:
    """Damage the head; it has to be refused, and repaired to the same chain."""
    damage(run.path(head_key(RUN)), run.path(lease_key(RUN, 1)), chance)
    try:
        head = read_head(run.store, RUN).head
        if head is not None:  # whole, if no more than the last line's end was lost
            return "unread" if head == run.head else "used"
    except (Corrupt, InputError):
        pass
    repair(run.store, RUN, "a person")
    return "recovered" if [each.commit for each in chain(run.store, RUN)] == run.commits[::-1] else "lost"


def damage_blob(run: Run, damage: Damage, chance: random.Random) -> str:
    """Damage a blob; it has to be refused, and to be written anew once it is deleted."""
    digest, other = chance.sample(sorted(run.blobs), 2)
    key = f"runs/{RUN}/data/blobs/{digest}"
    damage(run.path(key), run.path(f"runs/{RUN}/data/blobs/{other}"), chance)
    try:
        return "unread" if get_blob(run.store, RUN, digest) == run.blobs[digest] else "used"
    except (Corrupt, Missing):
        run.store.delete(key)
    put_blob(run.store, RUN, run.blobs[digest])
    return "recovered" if get_blob(run.store, RUN, digest) == run.blobs[digest] else "used"


def damage_stage(run: Run, damage: Damage, chance: random.Random) -> str:
    """Damage the record of a finished stage; what is read is what was written, or refused, or not done."""
    damage(run.path(stage_key(RUN, 0, "attack")), run.path(lease_key(RUN, 1)), chance)
    try:
        outputs = Journal(run.store, RUN).done(0, "attack")
    except (Corrupt, InputError):
        return "refused"
    if outputs is None:
        Journal(run.store, RUN).finish(0, "attack", OUTPUTS)
        return "recovered"
    return "unread" if outputs == OUTPUTS else "used"


def damage_lease(run: Run, damage: Damage, chance: random.Random) -> str:
    """Damage the lease of an epoch; with compare-and-set the head alone says who writes."""
    damage(run.path(lease_key(RUN, 1)), run.path(stage_key(RUN, 0, "attack")), chance)
    outcome = run.goes_on()
    return outcome if acquire(run.store, RUN, "next").epoch == 2 else "used"


PLACES = {
    "commit": damage_commit,
    "head": damage_head,
    "blob": damage_blob,
    "stage": damage_stage,
    "lease": damage_lease,
}
DAMAGES = {"flip": flip, "truncate": truncate, "swap": swap, "replace": replace, "remove": remove}
WEIGHTS = {"commit": 6, "head": 2, "blob": 1, "stage": 1, "lease": 1}
OUTCOMES = ("recovered", "refused", "unread", "lost", "used")


def cases(count: int, seed: int) -> dict[tuple[str, str], Counter[str]]:
    """What came of so many cases, by place and damage."""
    chance, found = random.Random(seed), defaultdict[tuple[str, str], Counter[str]](Counter)
    with TemporaryDirectory() as folder:
        run = Run(Path(folder))
        for _ in range(count):
            place = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            damage = chance.choice(sorted(DAMAGES))
            with run.restored():
                found[place, damage][_outcome(run, place, damage, chance)] += 1
    return dict(sorted(found.items()))


def _outcome(run: Run, place: str, damage: str, chance: random.Random) -> str:
    try:
        return PLACES[place](run, DAMAGES[damage], chance)
    except (Corrupt, InputError, Missing, Conflict):
        return "refused"


def main() -> None:
    """Damage, print the counts, and exit with 1 if anything damaged was used or lost."""
    arguments = parse()
    found = cases(arguments.cases, arguments.seed)
    total = sum(found.values(), Counter())
    counted = {**found, ("all", "all"): total}
    rows = [
        {"place": place, "damage": damage} | {name: counts[name] for name in OUTCOMES}
        for (place, damage), counts in counted.items()
    ]
    print_rows(rows, as_json=arguments.json, title="corruption")
    sys.exit(bool(total["used"] or total["lost"]))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
