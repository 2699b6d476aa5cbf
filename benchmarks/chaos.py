"""Live chaos: real writers on a real store, killed, stopped, continued, replaced and gone back behind.

    python benchmarks/chaos.py --store FOLDER --seconds 60 --seed 0
    python benchmarks/chaos.py --store s3://bucket/prefix --seconds 60

Writers are processes that acquire the run and publish small commits, keeping the last few, as fast as they can. The
conductor starts, SIGKILLs, SIGSTOPs and SIGCONTs them at random moments and sometimes rolls back. A watcher reads the
head all the time, and every key that is not the head is digested at first sight and compared later. Prints one line of
counts; leaves with 1 if anything is violated. The store must be empty below `runs/chaos`.

| a violation is | |
|---|---|
| a head that names what is not whole | looked at whenever the watcher saw it and it is still the head afterwards |
| an epoch or a seq that went back | between any two reads |
| a commit that was gone back behind or dropped and came back | over all heads seen |
| a commit that was lost or done twice | `seq` − epoch − step is the same for all heads until somebody goes back |
| two commits of one step | of all heads seen and all commits confirmed to writers, until somebody goes back |
| a key that has other bytes than at first sight | looked at in the end |
| a writer that ends otherwise than by a kill or by being fenced | exit code 42, at its next commit |
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.context import ForkProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from tsgb.checkpoints import acquire, publish, resume, rollback
from tsgb.checkpoints.encoding import digest_of
from tsgb.checkpoints.heads import read_head
from tsgb.checkpoints.layout import commits_prefix, head_key, position
from tsgb.checkpoints.manifest import read_manifest
from tsgb.cli.output import print_rows
from tsgb.errors import Corrupt, Fenced, Missing, UserError
from tsgb.records.run import Head
from tsgb.settings import Secrets, StorageSettings
from tsgb.storage import Store, open_store

RUN, FENCED, KEPT = "chaos", 42, 3
FORK = multiprocessing.get_context("fork")
WRITERS = 3
"""Writers that are alive at a time, zombies included."""


def write(arguments: argparse.Namespace, output: Path) -> None:
    """Be a writer: resume, publish step after step, and say which commits were confirmed; ends with the exit code."""
    folder = output.with_suffix(".state")
    folder.mkdir()
    with output.open("w", buffering=1) as said:
        try:
            _publish_for_ever(opened(arguments), output.name, folder, said)
        except Fenced:
            sys.exit(FENCED)


def _publish_for_ever(store: Store, name: str, folder: Path, said: TextIO) -> None:
    lease = acquire(store, RUN, name)
    said.write(f"epoch {lease.epoch}\n")
    manifest = resume(store, RUN, 0, "train", folder).manifest
    for step in count(manifest.step + 1 if manifest else 1):
        for file in ("adapter", "optimizer"):
            (folder / file).write_bytes(f"{file} {step} {name} ".encode() * 50)
        done = publish(store, lease, round_number=0, stage="train", step=step, folder=folder, keep_last=KEPT)
        said.write(f"{done.commit}\n")


def opened(arguments: argparse.Namespace) -> Store:
    """The store at a location; how it is reached and with which keys is said by flags and the environment."""
    return open_store(arguments.store, StorageSettings(endpoint_url=arguments.endpoint), Secrets())


@dataclass
class Writer:
    """A writer's process."""

    process: ForkProcess
    output: Path
    """The file that it writes to."""
    stopped: bool = False
    was_stopped: bool = False
    """Whether it was stopped at any time: a zombie, if it was replaced meanwhile."""

    def signal(self, number: int) -> None:
        """Send a signal to it, if it is still there."""
        if self.process.exitcode is None and self.process.pid:
            os.kill(self.process.pid, number)

    def killed(self) -> None:
        """Kill it and wait for its end."""
        self.process.kill()
        self.process.join()

    def said(self) -> list[str]:
        """Its epoch and the commits that it was told are done; a last line that a kill has cut is none."""
        return self.output.read_text().split("\n")[:-1] if self.output.exists() else []


@dataclass
class Watcher:
    """What was seen of a run from outside."""

    store: Store
    heads: list[Head] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    gone_back: set[int] = field(default_factory=set)
    """Epochs that began by going back."""
    _dropped: set[str] = field(default_factory=set)
    _sums: dict[int, int] = field(default_factory=dict)
    _steps: dict[tuple[int, int], str] = field(default_factory=dict)

    def look(self) -> None:
        """Read the head and, when it is a new one, all that it names."""
        head = read_head(self.store, RUN).head
        if head is None or (self.heads and head == self.heads[-1]):
            return
        try:
            for each in head.line:
                self._digest(each.commit, each.manifest_digest)
        except (Missing, Corrupt) as error:
            if read_head(self.store, RUN).head == head:
                self.violations.append(f"{error} while the head named it")
        self._compare(head)
        self._count(head)
        self.heads.append(head)

    def _compare(self, head: Head) -> None:
        """Hold a head against the one seen before."""
        old, line = self.heads[-1] if self.heads else None, {each.commit for each in head.line}
        if old and (head.epoch < old.epoch or head.seq <= old.seq):
            self.violations.append(f"the head went back from {old.epoch}/{old.seq} to {head.epoch}/{head.seq}")
        self._dropped |= {each.commit for each in old.line} - line if old else set()
        if back := self._dropped & line:
            self.violations.append(f"{back} had left the line and came back")

    def _count(self, head: Head) -> None:
        """Every move is one commit or one new epoch."""
        if head.commit is None:
            return
        place = position(head.commit)
        assert place is not None
        total = head.seq - head.epoch - place.step
        if self._sums.setdefault(self._times_back(head.epoch), total) != total:
            self.violations.append(f"head {head.epoch}/{head.seq} names step {place.step}: a commit is lost or double")
        self.confirm(head.commit)

    def confirm(self, commit: str) -> None:
        """Take note of a commit that somebody has seen done."""
        place = position(commit)
        assert place is not None
        if (other := self._steps.setdefault((self._times_back(place.epoch), place.step), commit)) != commit:
            self.violations.append(f"{commit} and {other} are both step {place.step}")

    def _times_back(self, epoch: int) -> int:
        return sum(each <= epoch for each in self.gone_back)

    def _digest(self, commit: str, digest: str) -> None:
        """Note every file of a commit at first sight, hashed against its manifest."""
        if f"{commit}/" in self.digests:
            return
        manifest = read_manifest(self.store, RUN, commit, digest)
        for name, promised in manifest.files.items():
            data = self.store.get(f"{commits_prefix(RUN)}{commit}/{name}")
            if digest_of(data) != promised.blake3:
                raise Corrupt(f"{commit}/{name} is not as promised")
        self.digests[f"{commit}/"] = digest

    def digest_all(self) -> None:
        """Compare every key with the bytes it had at first sight."""
        for key in self.store.list(f"runs/{RUN}/"):
            if key == head_key(RUN):
                continue
            with suppress(Missing):
                found = digest_of(self.store.get(key))
                if self.digests.setdefault(key, found) != found:
                    self.violations.append(f"{key} was overwritten")


@dataclass
class Conductor:
    """Starts writers and does to them what spot hosts do."""

    arguments: argparse.Namespace
    folder: Path
    watcher: Watcher
    chance: random.Random
    writers: list[Writer] = field(default_factory=list)
    ended: list[Writer] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def start(self) -> None:
        """Start a writer, which fences all others."""
        output = self.folder / f"w{self.counts['started']}"
        process = FORK.Process(target=write, args=(self.arguments, output))
        process.start()
        self.writers.append(Writer(process, output))
        self.counts["started"] += 1

    def kill(self) -> None:
        """SIGKILL one."""
        self._draw(self.writers).signal(signal.SIGKILL)
        self.counts["kills"] += 1

    def stop(self) -> None:
        """SIGSTOP one: its host hangs."""
        if running := [each for each in self.writers if not each.stopped]:
            writer = self._draw(running)
            writer.signal(signal.SIGSTOP)
            writer.stopped = True
            self.counts["stops"] += 1

    def go_on(self) -> None:
        """SIGCONT one that was stopped: a zombie, if it was replaced meanwhile."""
        if stopped := [each for each in self.writers if each.stopped]:
            self._continue(self._draw(stopped))

    def go_back(self) -> None:
        """Roll back by one commit, if there is one to go back to."""
        head = read_head(self.watcher.store, RUN).head
        if head and len(head.line) > 1:
            with suppress(UserError, Missing, Corrupt):
                lease = rollback(self.watcher.store, RUN, head.line[1].commit, "conductor")
                self.watcher.gone_back.add(lease.epoch)
                self.counts["rollbacks"] += 1

    def step(self) -> None:
        """One event, and a look at the head before and after."""
        self._reap()
        while len(self.writers) < WRITERS:
            self.start()
        event = self.chance.choices([self.kill, self.stop, self.go_on, self.start, self.go_back], [3, 4, 5, 2, 1])[0]
        if event != self.start or len(self.writers) < 2 * WRITERS:
            event()
        deadline = time.monotonic() + self.chance.uniform(0, self.arguments.pause)
        while time.monotonic() < deadline:
            self.watcher.look()

    def end(self) -> None:
        """Fence all writers, let each go on, and wait until it has found out; those that have no epoch are killed."""
        for writer in self.writers:
            if not writer.said():
                writer.killed()
        acquire(self.watcher.store, RUN, "the last")
        for writer in self.writers:
            if writer.stopped:
                self._continue(writer)
        for writer in self.writers:
            writer.process.join(timeout=60)
            if writer.process.exitcode is None:
                self.watcher.violations.append(f"{writer.output.name} was fenced and went on for a minute")
                writer.killed()
        self._reap()

    def abandon(self) -> None:
        """Kill whoever is left."""
        for writer in self.writers:
            writer.killed()

    def check(self) -> None:
        """Look at everything once more, now that nobody writes."""
        self.watcher.look()
        self.watcher.digest_all()
        for writer in self.ended:
            for commit in writer.said()[1:]:
                self.watcher.confirm(commit)
                self.counts["commits"] += 1
        with TemporaryDirectory() as folder:
            resumed, head = resume(self.watcher.store, RUN, 0, "train", Path(folder)), self.watcher.heads[-1]
        if resumed.skipped or head.commit != (resumed.manifest.commit if resumed.manifest else None):
            self.watcher.violations.append(f"what resumes is not the head: {resumed.skipped}")

    def _continue(self, writer: Writer) -> None:
        writer.signal(signal.SIGCONT)
        writer.stopped, writer.was_stopped = False, True
        self.counts["continued"] += 1

    def _draw(self, writers: Sequence[Writer]) -> Writer:
        return self.chance.choice(list(writers))

    def _reap(self) -> None:
        for writer in [each for each in self.writers if each.process.exitcode is not None]:
            self.writers.remove(writer)
            self.ended.append(writer)
            code = writer.process.exitcode
            if code == FENCED:
                self.counts["fenced"] += 1
                self.counts["zombies fenced"] += writer.was_stopped
            elif code != -signal.SIGKILL:
                self.watcher.violations.append(f"{writer.output.name} ended with {code}; its traceback is above")


EVENTS = ("started", "kills", "stops", "continued", "rollbacks")


def conduct(arguments: argparse.Namespace) -> tuple[dict[str, object], list[str]]:
    """Let chaos reign for so many seconds; returns the counts and the violations."""
    watcher = Watcher(opened(arguments))
    if watcher.store.list(f"runs/{RUN}/"):
        raise SystemExit(f"{arguments.store} holds a run «{RUN}»; choose an empty store.")
    with TemporaryDirectory() as folder:
        conductor = Conductor(arguments, Path(folder), watcher, random.Random(arguments.seed))
        begin = time.monotonic()
        try:
            while time.monotonic() - begin < arguments.seconds:
                conductor.step()
            conductor.end()
            conductor.check()
        finally:
            conductor.abandon()
    counts = conductor.counts
    row: dict[str, object] = {"store": arguments.store.partition("://")[0] if "://" in arguments.store else "disk"}
    row |= {"seconds": time.monotonic() - begin, "events": sum(counts[name] for name in EVENTS)}
    row |= {name: counts[name] for name in ("commits", *EVENTS, "fenced", "zombies fenced")}
    row |= {"heads seen": len(watcher.heads), "keys": len(watcher.digests), "violations": len(watcher.violations)}
    return row, watcher.violations


def main() -> None:
    """Conduct, print the counts, and exit with 1 if something was violated."""
    arguments = parse()
    row, violations = conduct(arguments)
    print_rows([row], as_json=arguments.json, title="chaos")
    sys.stderr.writelines(f"{each}\n" for each in violations)
    sys.exit(bool(violations))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="a location, empty; keys are read from the environment")
    parser.add_argument("--endpoint", default="", help="the service's address, where it is not Amazon's")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pause", type=float, default=0.3, help="longest time between two events, in seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
