"""How far a run is: which stages are done, which parts and commits the others have, who may write, where to go on.

What is not in storage is not done; nobody is asked and no clock is read, so a run whose writer died looks like one
whose writer is thinking.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tsgb.checkpoints import Journal
from tsgb.checkpoints.accepted import accepted_bundle
from tsgb.checkpoints.heads import read_head
from tsgb.checkpoints.layout import MANIFEST, Position, commits_prefix, position, rounds_prefix, stage_key
from tsgb.records.base import Record
from tsgb.records.run import RunRecord
from tsgb.storage import Store

STAGES = ("plan", "rollout", "attack", "sets", "train", "guards", "gates")
"""The stages of a round, in order."""
EXAM = "exam"
"""The last stage of a run, after its rounds."""
_ALSO = {"gates": ("baseline",), EXAM: ("exam-base",)}
"""Parts that a stage stores under another name."""


class StageStatus(Record):
    """How far a stage is."""

    round: int
    """Round of the stage; the final exam's is one past the last."""
    stage: str
    """Name of the stage."""
    state: Literal["done", "begun", "to do"]
    """Whether its record is in storage, or at least a part or commit of it."""
    parts: int
    """Stored parts."""
    commits: int
    """Whole commits that are kept."""
    step: int | None
    """Step of the newest commit."""


class RunStatus(Record):
    """How far a run is."""

    run: str
    """Name of the run."""
    owner: str | None
    """Who was the last to become its writer."""
    epoch: int
    """Which writer that is; 0: none yet."""
    commit: str | None
    """The newest commit."""
    defender: str | None
    """The newest bundle that the gates accepted."""
    next: str
    """Where the same command goes on."""
    stages: tuple[StageStatus, ...]
    """Every stage of every round, then the final exam."""


def read_status(store: Store, record: RunRecord) -> RunStatus:
    """How far a run is, from its keys and its head."""
    head = read_head(store, record.run).head
    rounds = record.settings["run"]["rounds"]
    stages = _stages(store, record.run, rounds)
    return RunStatus(
        run=record.run,
        owner=head.owner if head else None,
        epoch=head.epoch if head else 0,
        commit=head.commit if head else None,
        defender=accepted_bundle(Journal(store, record.run), rounds),
        next=_next(stages),
        stages=tuple(stages),
    )


def _stages(store: Store, run: str, rounds: int) -> list[StageStatus]:
    keys = store.list(rounds_prefix(run))
    commits = _commits(store, run)
    order = [(n, stage) for n in range(rounds) for stage in STAGES] + [(rounds, EXAM)]
    return [
        _status(run, n, stage, keys, [at for at in commits if (at.round, at.stage) == (n, stage)]) for n, stage in order
    ]


def _status(run: str, n: int, stage: str, keys: Sequence[str], commits: Sequence[Position]) -> StageStatus:
    folders = tuple(f"{rounds_prefix(run)}{n}/{name}/" for name in (stage, *_ALSO.get(stage, ())))
    parts = sum(key.startswith(folders) for key in keys)
    done = stage_key(run, n, stage) in keys
    return StageStatus(
        round=n,
        stage=stage,
        state="done" if done else "begun" if parts or commits else "to do",
        parts=parts,
        commits=len(commits),
        step=max(commits).step if commits else None,
    )


def _commits(store: Store, run: str) -> list[Position]:
    """Where each whole commit stands."""
    prefix = commits_prefix(run)
    names = (
        key.removeprefix(prefix).removesuffix(f"/{MANIFEST}") for key in store.list(prefix) if key.endswith(MANIFEST)
    )
    return [place for name in names if (place := position(name))]


def _next(stages: Sequence[StageStatus]) -> str:
    missing = next((stage for stage in stages if stage.state != "done"), None)
    if missing is None:
        return "nothing: the run is complete"
    after = f"step {missing.step}" if missing.step else f"part {missing.parts}" if missing.parts else None
    return f"round {missing.round}, stage {missing.stage}" + (f", after {after}" if after else "")
