"""A whole run on this machine: open or go on with it, play its rounds, sit the final exam.

The same call with the same settings goes on where it was killed, and ends with the same bytes as if it never had
been.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tsgb import surrogate
from tsgb.checkpoints import acquire, open_run
from tsgb.records.run import SCHEMA, RunRecord
from tsgb.rollouts.players import Players, Stage
from tsgb.settings import Settings
from tsgb.storage import open_store
from tsgb.worker.round import run_rounds
from tsgb.worker.run import Note, Run, Tell

_NOT_RESULTS = {"run": {"processes"}, "storage": True}
"""Settings that change no result, so that a run may go on under others."""


def train_local(settings: Settings, *, tell: Tell, note: Note) -> dict[str, Any]:
    """Start a run or go on with it, to its end; returns the final exam's record."""
    with opened(settings, tell=tell, note=note) as run:
        return run_rounds(run)


@contextmanager
def opened(settings: Settings, *, tell: Tell, note: Note) -> Iterator[Run]:
    """The run of these settings, this process its only writer."""
    store, name = open_store(settings.storage.root), settings.run.name
    open_run(store, run_record(settings))
    lease = acquire(store, name, owner=platform.node() or "local")
    with (
        TemporaryDirectory(prefix="tsgb-") as scratch,
        Players(stage_of(settings), processes=settings.run.processes) as players,
    ):
        yield Run(name, settings, store, lease, players, Path(scratch), tell, note)


def stage_of(settings: Settings) -> Stage:
    """Where episodes are played under these settings."""
    rollout, model = settings.rollout, settings.model
    path = model.path or str(surrogate.shipped())
    return Stage(path, model.dtype, "office", rollout.max_turns, rollout.batch_size, rollout.max_new_tokens)


def run_record(settings: Settings) -> RunRecord:
    """What the run was started with, less what changes no result."""
    kept = settings.model_dump(mode="json", exclude=_NOT_RESULTS)  # type: ignore[arg-type]
    versions = {name: version(name) for name in ("torch", "transformers", "peft", "safetensors")}
    return RunRecord(
        schema=SCHEMA, run=settings.run.name, settings=kept, versions=versions, seeds={"run": settings.run.seed}
    )
