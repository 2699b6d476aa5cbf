"""What training and attacker saw step by step: losses, cosine and reward of every round that has trained.

The defender's reports are a blob that the record of its stage names; the attacker's lie beside its policy, in the
commit that its stage names. A round that kept none, or whose commit was taken away, has no curves.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tsgb.checkpoints import Journal, get_blob
from tsgb.checkpoints.layout import commit_key, stage_of
from tsgb.checkpoints.manifest import download, read_manifest
from tsgb.errors import Missing
from tsgb.records.base import Record
from tsgb.storage import Store

TRAINING = ("rerouting", "retain", "twin", "cosine")
ATTACKER = ("reward",)
REPORTS = "reports_attacker.jsonl"

Columns = dict[str, tuple[float, ...]]


class RoundCurves(Record):
    """What a round's trainings saw, step by step."""

    round: int
    """Number of the round."""
    training: Columns = {}
    """The defender: mean rerouting, retain and twin loss of every step, and mean cosine where it is known."""
    attacker: Columns = {}
    """The attacker: mean reward of every update."""


def read_curves(store: Store, run: str, rounds: int) -> tuple[RoundCurves, ...]:
    """The curves of those of the first `rounds` rounds that have any."""
    journal = Journal(store, run)
    every = (
        RoundCurves(round=n, training=_training(store, journal, n), attacker=_attacker(store, journal, n))
        for n in range(rounds)
    )
    return tuple(each for each in every if each.training or each.attacker)


def _training(store: Store, journal: Journal, n: int) -> Columns:
    digest = (journal.done(n, "train") or {}).get("reports")
    return _columns(get_blob(store, journal.run, digest), TRAINING) if digest else {}


def _attacker(store: Store, journal: Journal, n: int) -> Columns:
    commit = (journal.done(n, "attack") or {}).get("commit")
    # A round whose attacker learnt nothing names the commit of the round before.
    if commit is None or stage_of(commit) != (n, "attack"):
        return {}
    try:
        manifest = read_manifest(store, journal.run, commit)
    except Missing:
        return {}
    if REPORTS not in manifest.files:
        return {}
    with TemporaryDirectory() as folder:
        path = Path(folder, REPORTS)
        download(store, commit_key(journal.run, manifest.commit, REPORTS), manifest.files[REPORTS], path)
        return _columns(path.read_bytes(), ATTACKER)


def _columns(data: bytes, names: Sequence[str]) -> Columns:
    rows: list[dict[str, Any]] = [json.loads(line) for line in data.splitlines()]
    columns = {name: tuple(row[name] for row in rows) for name in names} if rows else {}
    return {name: values for name, values in columns.items() if None not in values}
