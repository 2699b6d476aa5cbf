"""Going back: the head is put on an older commit of the chain, and every writer is fenced by it.

What was newer leaves the chain; `gc --fenced` sweeps it. Stages that are recorded as done stay done, so that only the
stage under way can be gone back in.
"""

from __future__ import annotations

from tsgb.checkpoints.heads import read_head
from tsgb.checkpoints.layout import stage_key, stage_of
from tsgb.checkpoints.lease import take_over
from tsgb.checkpoints.manifest import read_manifest
from tsgb.errors import InputError, NoCompareAndSet
from tsgb.records.run import Head, Kept, Lease
from tsgb.storage import Store


def rollback(store: Store, run: str, commit: str, owner: str) -> Lease:
    """Make an ancestor of the head the newest commit, under a new epoch; raises InputError if it is no such thing."""
    seen = read_head(store, run)
    if seen.epoch:
        raise NoCompareAndSet(
            f"run «{run}» has granted epochs and cannot go back to {commit}; quarantine what is newer."
        )
    target = _ancestor(seen.head, run, commit)
    _require_open(store, run, seen.head, commit)
    read_manifest(store, run, commit, target.manifest_digest)
    return take_over(store, run, owner, lambda head: _back_to(head, run, target))


def _back_to(head: Head, run: str, target: Kept) -> dict[str, object]:
    """The change that puts a head back on one of its ancestors."""
    line = head.line
    at = line.index(_ancestor(head, run, target.commit))
    return {"commit": target.commit, "manifest_digest": target.manifest_digest, "kept": line[at + 1 :]}


def _ancestor(head: Head | None, run: str, commit: str) -> Kept:
    found = [each for each in (head.line if head else ()) if each.commit == commit]
    if not found:
        raise InputError(f"{commit} is not on the chain of run «{run}»; `tsgb checkpoints list {run}` shows what is.")
    return found[0]


def _require_open(store: Store, run: str, head: Head | None, commit: str) -> None:
    """Raise InputError if going back would undo a stage that is done."""
    newer = [each.commit for each in (head.line if head else ())]
    undone = {stage_of(each) for each in newer[: newer.index(commit)]} | {stage_of(commit)}
    for place in sorted(filter(None, undone)):
        if store.exists(stage_key(run, *place)):
            cure = "export the commit and start another run from it"
            raise InputError(f"round {place[0]} of run «{run}» has finished {place[1]}, so {commit} is past; {cure}.")
