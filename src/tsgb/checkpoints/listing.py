"""The commits of a run as a person sees and names them.

What is listed costs four requests however many there are: the head names its chain, and the name of a commit says its
round, stage and step. A manifest is read only of the commit that is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tsgb.checkpoints.heads import read_head
from tsgb.checkpoints.layout import marker_name, pins_prefix, position, quarantine_prefix
from tsgb.checkpoints.manifest import read_manifest
from tsgb.checkpoints.markers import marked
from tsgb.checkpoints.pins import is_pinned
from tsgb.checkpoints.quarantine import quarantined
from tsgb.checkpoints.retention import all_commits
from tsgb.errors import Corrupt, InputError
from tsgb.records.base import Record
from tsgb.records.run import Manifest
from tsgb.storage import Store

_SHOWN = 5


class Listed(Record):
    """A commit on the chain, by its name and the marks beside it."""

    commit: str
    """Name of the commit."""
    round: int
    """Round it belongs to."""
    stage: str
    """Stage of that round."""
    step: int
    """Step of that stage."""
    marks: tuple[str, ...]
    """What is to be known of it: newest, pinned, quarantine."""


class Named(NamedTuple):
    """A commit that somebody named."""

    commit: str
    manifest_digest: str | None
    """BLAKE3 that its manifest has by the head's word; None: it is not on the chain."""


class Shown(Record):
    """All that is known of a commit."""

    manifest: Manifest
    """What it promises."""
    on_chain: bool
    """Whether the head names it."""
    pinned: bool
    """Whether a person wants it kept."""
    quarantine: str | None
    """Why it is not to be gone on from, if so."""


def list_commits(store: Store, run: str) -> list[Listed]:
    """The commits on the chain, newest first; raises Corrupt if there are commits and no head."""
    line = on_chain(store, run)
    marks = {"pinned": marked(store, pins_prefix(run)), "quarantine": marked(store, quarantine_prefix(run))}
    return [_listed(each.commit, line[0].commit, marks) for each in line]


def on_chain(store: Store, run: str) -> list[Named]:
    """The newest commit and its ancestors, newest first; raises Corrupt if there are commits and no head."""
    head = read_head(store, run).head
    if head is None and all_commits(store, run):
        raise Corrupt(f"run «{run}» has commits but no HEAD; `tsgb checkpoints repair {run}` builds it anew.")
    return [Named(each.commit, each.manifest_digest) for each in (head.line if head else ())]


def find_commit(store: Store, run: str, text: str | None = None) -> Named:
    """The one commit whose name begins with a text, its epoch being optional; the newest without a text.

    Those on the chain go before what else is in the store. Raises InputError if there is none, or more than one.
    """
    line = on_chain(store, run)
    if text is None:
        return _newest(line, run)
    found = _matching(text, line) or _matching(text, (Named(commit, None) for commit in all_commits(store, run)))
    if not found:
        raise InputError(f"There is no commit {text!r} in run {run!r}; `tsgb checkpoints list {run}` shows what is.")
    if len(found) > 1:
        names = ", ".join(each.commit for each in found[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")
        raise InputError(f"{text!r} may be any of {len(found)} commits of run {run!r} ({names}); write more of it.")
    return found[0]


def open_commit(store: Store, run: str, text: str | None = None) -> Manifest:
    """The manifest of the commit that `find_commit` finds; raises Missing or Corrupt too."""
    named = find_commit(store, run, text)
    return read_manifest(store, run, named.commit, named.manifest_digest)


def show_commit(store: Store, run: str, text: str | None = None) -> Shown:
    """All that is known of the commit that `find_commit` finds."""
    named = find_commit(store, run, text)
    return Shown(
        manifest=read_manifest(store, run, named.commit, named.manifest_digest),
        on_chain=named.manifest_digest is not None,
        pinned=is_pinned(store, run, named.commit),
        quarantine=quarantined(store, run).get(named.commit),
    )


def _listed(commit: str, newest: str, marks: dict[str, set[str]]) -> Listed:
    place = position(commit)
    assert place is not None
    beside = tuple(mark for mark, names in marks.items() if marker_name(commit) in names)
    shown = ("newest", *beside) if commit == newest else beside
    return Listed(commit=commit, round=place.round, stage=place.stage, step=place.step, marks=shown)


def _newest(line: list[Named], run: str) -> Named:
    if not line:
        raise InputError(f"Run {run!r} has no commit yet; tsgb status {run} says how far it is.")
    return line[0]


def _matching(text: str, commits: Iterable[Named]) -> list[Named]:
    """The commit of that very name, or those whose name begins so."""
    found = [each for each in commits if each.commit.startswith(text) or each.commit.split("/")[1].startswith(text)]
    return [each for each in found if each.commit == text] or found
