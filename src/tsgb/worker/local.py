"""A whole run on this machine: open or go on with it, play its rounds, sit the final exam.

The same call with the same settings goes on where it was killed, and ends with the same bytes as if it never had
been.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import torch
from safetensors import SafetensorError

from tsgb import surrogate
from tsgb.breakers.representations import hidden_states
from tsgb.checkpoints import acquire, open_run, resume_point
from tsgb.checkpoints.lease import this_host
from tsgb.environments.registry import environment
from tsgb.errors import NoSpace
from tsgb.models.loading import Base, linear_modules
from tsgb.models.rendering import encode
from tsgb.records.dialogue import Message, ToolCall
from tsgb.records.run import SCHEMA, RunRecord
from tsgb.rollouts.players import Players, Stage
from tsgb.settings import Secrets, Settings
from tsgb.storage import Store, open_store
from tsgb.worker.interruption import Interruption
from tsgb.worker.machine import downgraded, fingerprint
from tsgb.worker.round import run_rounds
from tsgb.worker.run import Note, Run, Tell

_NOT_RESULTS = {
    "run": {"processes", "steps_between_checkpoints", "interruptions_per_hour", "keep_last", "granted_epoch"},
    "storage": True,
}
"""Settings that change no result, so that a run may go on under others."""
_FULL = {errno.ENOSPC, errno.EDQUOT}


def train_local(
    settings: Settings, *, tell: Tell, note: Note, interruption: Interruption | None = None
) -> dict[str, Any]:
    """Start a run or go on with it, to its end; returns the final exam's record."""
    with opened(settings, tell=tell, note=note, interruption=interruption) as run:
        return run_rounds(run)


@contextmanager
def opened(settings: Settings, *, tell: Tell, note: Note, interruption: Interruption | None = None) -> Iterator[Run]:
    """The run of these settings, this process its only writer; raises ModelError before anything of it is stored."""
    store, name = open_store(settings.storage.root, settings.storage, Secrets()), settings.run.name
    with (
        _full_disk_explained(),
        TemporaryDirectory(prefix="tsgb-") as scratch,
        Players(stage_of(settings), processes=settings.run.processes, tell=partial(tell, "playing")) as players,
    ):
        require_usable(players.base, settings)
        now = run_record(settings, players.base.digest)
        started = open_run(store, now)
        lease = acquire(store, name, this_host(), granted_epoch=settings.run.granted_epoch)
        _say_where_it_was_computed(store, started, now.versions, note)
        heard = interruption or Interruption()
        yield Run(name, settings, store, lease, players, Path(scratch), tell, note, heard, now.versions)


def _say_where_it_was_computed(store: Store, started: RunRecord, now: Mapping[str, str], note: Note) -> None:
    """Take the promise of equal bits back, in a sentence, where the newest commit or the run's start was elsewhere."""
    newest = resume_point(store, started.run).manifest
    what, before = (newest.commit, newest.versions) if newest else ("what there is of this run", started.versions)
    if sentence := downgraded(what, before, now):
        note(sentence)


def require_usable(base: Base, settings: Settings) -> None:
    """Refuse a model that a later stage could not use: one without a chat template, or without the layers asked for."""
    linear_modules(base.model, settings.breaker.adapter_layers)
    encoded = encode(base.tokenizer, _DIALOGUE, environment("office").tools)
    targets, ids_BT = settings.breaker.target_layers, torch.tensor([encoded.ids], device=base.model.device)
    hidden_states(base.model, ids_BT, targets, depth=max(targets) + 1 if settings.breaker.mode == "upstream" else None)


_DIALOGUE = (
    Message(role="user", content="read my notes"),
    Message(role="assistant", tool_calls=(ToolCall(name="read_file", arguments={"path": "/notes"}),)),
    Message(role="tool", name="read_file", content="call karo"),
    Message(role="assistant", content="they say: call karo"),
)
"""A turn of every kind that a run renders."""


def stage_of(settings: Settings) -> Stage:
    """Where episodes are played under these settings."""
    rollout, model = settings.rollout, settings.model
    path = model.path or str(surrogate.shipped())
    return Stage(path, model.dtype, "office", rollout.max_turns, rollout.batch_size, rollout.max_new_tokens)


def run_record(settings: Settings, model: str) -> RunRecord:
    """What the run was started with, less what changes no result; `model` is the digest of the base's weights."""
    kept = settings.model_dump(mode="json", exclude=_NOT_RESULTS)  # type: ignore[arg-type]
    kept["model"]["digest"] = model
    return RunRecord(
        schema=SCHEMA, run=settings.run.name, settings=kept, versions=fingerprint(), seeds={"run": settings.run.seed}
    )


@contextmanager
def _full_disk_explained() -> Iterator[None]:
    """Say of the folder of temporary files what the store says of its own: NoSpace, with the cure."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if getattr(error, "errno", None) not in _FULL and not any(f"(os error {code})" in str(error) for code in _FULL):
            raise
        cure = "free some and run the same command again, everything committed before is whole"
        raise NoSpace(f"no space left to write temporary files in {gettempdir()}: {cure}.") from error
