"""A head that a disk has damaged or lost, built anew from what the commits say of themselves.

For a person to call, when nothing writes: what was on the chain cannot be told for sure from what a fenced writer
left, so every whole commit is put on it, ordered by epoch, round and step.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

from tsgb.checkpoints.encoding import digest_of, encode, sealed
from tsgb.checkpoints.heads import read_head
from tsgb.checkpoints.layout import epochs_prefix, head_key, position
from tsgb.checkpoints.manifest import read_manifest
from tsgb.checkpoints.retention import all_commits
from tsgb.errors import Corrupt, Missing, NoCompareAndSet
from tsgb.records.run import SCHEMA, Head, Kept, Manifest
from tsgb.storage import Store


def repair(store: Store, run: str, owner: str) -> Head | None:
    """Put a head in the place of a damaged or lost one, under a new epoch; None if nothing had to be done.

    Raises NoCompareAndSet for a head below a granted epoch, which is written once.
    """
    try:
        if read_head(store, run).head or not all_commits(store, run):
            return None
        found = None
    except Corrupt as error:
        found = _damaged(store, run, error)
    head = sealed(_head(store, run, owner, _line(store, run)))
    store.compare_and_set(head_key(run), found, encode(head))
    return head


def _damaged(store: Store, run: str, error: Corrupt) -> bytes | None:
    """The bytes that are to be replaced; None: they are gone."""
    if store.exists(head_key(run)):
        return store.get(head_key(run))
    if any("/heads/" in key for key in store.list(epochs_prefix(run))):
        cure = "delete that object, and the head before it is the newest"
        raise NoCompareAndSet(f"run «{run}» has granted epochs, whose heads are written once ({error}): {cure}.")
    return None


def _head(store: Store, run: str, owner: str, line: list[Kept]) -> Head:
    epochs = [int(key.split("/")[3]) for key in store.list(epochs_prefix(run))]
    commits = [place.epoch for each in line if (place := position(each.commit))]
    newest = line[0] if line else None
    return Head(
        schema=SCHEMA,
        seq=0,
        epoch=max([0, *epochs, *commits]) + 1,
        owner=owner,
        nonce=uuid4().hex,
        commit=newest.commit if newest else None,
        manifest_digest=newest.manifest_digest if newest else None,
        kept=tuple(line[1:]),
    )


def _line(store: Store, run: str) -> list[Kept]:
    """Every whole commit, newest first."""
    whole = {m.commit: m for m in _whole(store, run)}
    newest = sorted(whole, key=lambda commit: position(commit) or (0, 0, "", 0), reverse=True)
    return [Kept(commit=commit, manifest_digest=digest_of(encode(whole[commit]))) for commit in newest]


def _whole(store: Store, run: str) -> Iterator[Manifest]:
    for commit in all_commits(store, run):
        try:
            yield read_manifest(store, run, commit)
        except (Missing, Corrupt):
            continue
