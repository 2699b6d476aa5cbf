"""Which commits are kept: the last few of every stage, what finished stages name, what is pinned, the newest two.

A writer deletes only strict ancestors on its own chain, and only after the head has ceased to name them. What fenced
writers left behind is swept on a person's or the manager's word: it belongs to an epoch below that of the head and is
no ancestor of the head, so its writer cannot commit it any more, whether its files are there or not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from tsgb.checkpoints.heads import read_head
from tsgb.checkpoints.layout import commits_prefix, marker_name, position, rounds_prefix, stage_of
from tsgb.checkpoints.lease import advance, require_owner
from tsgb.checkpoints.pins import pinned
from tsgb.checkpoints.publish import FEWEST, delete_commits
from tsgb.records.run import Head, Kept, Lease
from tsgb.storage import Store


def retain(store: Store, lease: Lease, keep_last: int) -> list[str]:
    """Delete all ancestors of the head but the last `keep_last` of each stage and those that something names.

    Returns the names of the deleted commits; raises Fenced and deletes nothing if another writer acquired the run.
    """
    if keep_last < 1:
        raise ValueError(f"keep_last must be at least 1, not {keep_last}")
    seen = require_owner(store, lease)
    assert seen.head is not None
    doomed = _doomed(store, lease.run, seen.head, keep_last)
    if doomed:
        advance(store, lease, seen, {"kept": tuple(each for each in seen.head.kept if each not in doomed)})
        delete_commits(store, lease.run, (each.commit for each in doomed))
    return [each.commit for each in doomed]


def superfluous(store: Store, run: str, keep_last: int) -> list[str]:
    """The commits that `retain` would delete; deletes nothing, and needs no lease."""
    head = read_head(store, run).head
    return [each.commit for each in _doomed(store, run, head, keep_last)] if head else []


def expendable(head: Head, keep_last: int, *, named: Iterable[str] = (), pins: Iterable[str] = ()) -> list[Kept]:
    """The ancestors of a head that nothing needs."""
    line, spared, pins = head.line, set(named), set(pins)
    stages: dict[object, list[str]] = defaultdict(list)
    for each in line:
        stages[stage_of(each.commit)].append(each.commit)
    for commits in stages.values():
        spared |= set(commits[:keep_last])
    spared |= {each.commit for each in line[:FEWEST]}
    return [each for each in line if each.commit not in spared and marker_name(each.commit) not in pins]


def named_by_stages(store: Store, run: str, head: Head) -> set[str]:
    """Choose the commits whose name stands anywhere in the record of a finished stage."""
    stages = [key for key in store.list(rounds_prefix(run)) if "/shard-" not in key and key.endswith(".json")]
    records = [store.get(key).decode() for key in stages]
    return {each.commit for each in head.line if any(f'"{each.commit}"' in record for record in records)}


def sweep_fenced(store: Store, run: str) -> list[str]:
    """Remove what `left_by_fenced` names, and return it."""
    swept = left_by_fenced(store, run)
    delete_commits(store, run, swept)
    return swept


def left_by_fenced(store: Store, run: str) -> list[str]:
    """What fenced writers left: of an epoch below the head's, neither its ancestor nor pinned, whole or not."""
    head, pins = read_head(store, run).head, pinned(store, run)
    if head is None:
        return []
    line = {each.commit for each in head.line}
    left = [commit for commit in all_commits(store, run) if commit not in line and marker_name(commit) not in pins]
    return [commit for commit in left if _epoch_of(commit) < head.epoch]


def all_commits(store: Store, run: str) -> dict[str, list[str]]:
    """The keys of all commits in the store, whole or not, by commit."""
    keys: dict[str, list[str]] = defaultdict(list)
    prefix = commits_prefix(run)
    for key in store.list(prefix):
        commit = "/".join(key.removeprefix(prefix).split("/")[:2])
        if position(commit):
            keys[commit].append(key)
    return keys


def _doomed(store: Store, run: str, head: Head, keep_last: int) -> list[Kept]:
    return expendable(head, keep_last, named=named_by_stages(store, run, head), pins=pinned(store, run))


def _epoch_of(commit: str) -> int:
    place = position(commit)
    assert place is not None
    return place.epoch
