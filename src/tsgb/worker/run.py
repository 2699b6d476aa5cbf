"""One run on this machine: where it is stored, who plays, and how a stage or a part of one is done just once.

Whatever is kept is kept in the store; the scratch folder holds copies of adapters for the engines and may vanish.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tsgb.breakers.examples import dump_examples, load_examples
from tsgb.checkpoints import Journal, fetch, get_blob, publish, put_blob
from tsgb.checkpoints.accepted import accepted_bundle
from tsgb.checkpoints.layout import position
from tsgb.records.dialogue import Scenario, Trajectory
from tsgb.records.run import Lease, Manifest
from tsgb.records.training import Example
from tsgb.rollouts.play import require_finished
from tsgb.rollouts.players import BASE, Players, Target
from tsgb.settings import Settings
from tsgb.storage import Store
from tsgb.worker.interruption import Interruption
from tsgb.worker.machine import fingerprint

Tell = Callable[[str, int, int], None]
"""Says how far a piece of work is: what, how much of it, out of how much."""
Note = Callable[[str], None]
"""Says a sentence that a person should read."""


@dataclass
class Run:
    """Everything a stage needs."""

    name: str
    settings: Settings
    store: Store
    lease: Lease
    players: Players
    scratch: Path
    tell: Tell = lambda what, done, total: None
    note: Note = lambda sentence: None
    interruption: Interruption = field(default_factory=Interruption)
    versions: dict[str, str] = field(default_factory=fingerprint)
    journal: Journal = field(init=False)

    def __post_init__(self) -> None:
        self.journal = Journal(self.store, self.name)

    def shard(
        self, round_number: int, stage: str, number: int, play: Callable[[], Sequence[Trajectory]]
    ) -> list[Trajectory]:
        """A stored part of a stage; played only if it is not there yet."""
        digest = self.journal.shard_done(round_number, stage, number)
        if digest is None:
            digest = self.journal.finish_shard(round_number, stage, number, dump_trajectories(play()))
        return load_trajectories(get_blob(self.store, self.name, digest))

    def play(self, what: str, scenarios: Sequence[Scenario], target: Target = BASE) -> list[Trajectory]:
        """Play scenarios and say how far it is; raises the `ModelError` in which all of them ended, if they did."""
        return require_finished(self.players.play(scenarios, target, lambda done, total: self.tell(what, done, total)))

    def shards(self, round_number: int, stage: str) -> list[Trajectory]:
        """All parts of a stage that is done, in order."""
        outputs = self.outputs(round_number, stage)
        return [t for number in range(outputs["shards"]) for t in self.shard(round_number, stage, number, list)]

    def outputs(self, round_number: int, stage: str) -> dict[str, Any]:
        """What a stage that is done said of its outputs."""
        outputs = self.journal.done(round_number, stage)
        assert outputs is not None, f"stage {stage} of round {round_number} is not done"
        return outputs

    def accepted_bundle(self, rounds: int) -> str | None:
        """The newest bundle that the gates of the first `rounds` rounds accepted, if there is one."""
        return accepted_bundle(self.journal, rounds)

    def publish(self, n: int, stage: str, step: int, folder: Path, *, keep_last: int | None = None) -> Manifest:
        """Commit a folder's files as a step of a stage, of whose commits `keep_last` are kept (None: all)."""
        return publish(
            self.store,
            self.lease,
            round_number=n,
            stage=stage,
            step=step,
            folder=folder,
            versions=self.versions,
            keep_last=keep_last,
        )

    def keep_examples(self, examples: Sequence[Example]) -> str:
        """Store a set and return its digest."""
        return put_blob(self.store, self.name, dump_examples(examples))

    def examples(self, digest: str) -> tuple[Example, ...]:
        """A stored set."""
        return load_examples(get_blob(self.store, self.name, digest), digest)

    def folder(self, commit: str) -> Path:
        """A local copy of a commit's files."""
        folder = self.scratch / commit.replace("/", "_")
        if not folder.exists():
            fetch(self.store, self.name, commit, folder)
        return folder

    def target(self, commit: str | None) -> Target:
        """Who plays under the adapter of a commit, called by its round; None: the base.

        The commit's own name tells how often the run was interrupted, which nothing that is played may show.
        """
        place = position(commit) if commit else None
        return Target(f"round-{place.round}", self.folder(commit)) if commit and place else BASE

    def seed(self, round_number: int, purpose: str) -> str:
        """A seed for one purpose in one round."""
        return f"{self.settings.run.seed}/{round_number}/{purpose}"


def dump_trajectories(trajectories: Sequence[Trajectory]) -> bytes:
    """Trajectories as JSON lines."""
    return b"".join(t.model_dump_json(exclude_defaults=True).encode() + b"\n" for t in trajectories)


def load_trajectories(data: bytes) -> list[Trajectory]:
    """Trajectories from JSON lines."""
    return [Trajectory.model_validate_json(line) for line in data.splitlines()]
