"""Which commits are kept: the last few of every stage, and all that a finished stage names.

Only the owner of the run deletes, and only what can never become the head: commits replaced by newer ones, and what
writers of earlier epochs, fenced since, have left behind. Its own unfinished upload is never touched.
"""

from __future__ import annotations

from collections import defaultdict

from tsgb.checkpoints.layout import MANIFEST, Position, commits_prefix, position, rounds_prefix
from tsgb.checkpoints.lease import require_owner
from tsgb.records.run import Lease
from tsgb.storage import Store


def retain(store: Store, lease: Lease, keep_last: int) -> list[str]:
    """Delete all but the last `keep_last` commits (at least 1) of each stage and those that finished stages name.

    Returns the names of the deleted commits; raises Fenced and deletes nothing if another writer acquired the run.
    """
    if keep_last < 1:
        raise ValueError(f"keep_last must be at least 1, not {keep_last}")
    head, _ = require_owner(store, lease)
    files = _files_by_commit(store, lease.run)
    whole = [commit for commit, keys in files.items() if any(key.endswith(f"/{MANIFEST}") for key in keys)]
    kept = {head.commit, *_last(whole, keep_last), *_named_by_stages(store, lease.run, whole)}
    doomed = [commit for commit in files if commit not in kept and _is_ours_to_delete(commit, lease, whole)]
    for commit in doomed:
        for key in sorted(files[commit], key=lambda key: not key.endswith(f"/{MANIFEST}")):
            store.delete(key)
    return doomed


def _files_by_commit(store: Store, run: str) -> dict[str, list[str]]:
    """Group the keys of all commits, whole or not, by commit."""
    files: dict[str, list[str]] = defaultdict(list)
    prefix = commits_prefix(run)
    for key in store.list(prefix):
        commit = "/".join(key.removeprefix(prefix).split("/")[:2])
        if position(commit):
            files[commit].append(key)
    return files


def _last(commits: list[str], count: int) -> set[str]:
    """Choose the newest `count` commits of each stage of each round."""
    stages: dict[tuple[int, str], list[tuple[Position, str]]] = defaultdict(list)
    for commit in commits:
        if place := position(commit):
            stages[place.round, place.stage].append((place, commit))
    return {commit for members in stages.values() for _, commit in sorted(members)[-count:]}


def _named_by_stages(store: Store, run: str, commits: list[str]) -> set[str]:
    """Choose the commits whose name stands anywhere in the record of a finished stage."""
    records = [store.get(key).decode() for key in store.list(rounds_prefix(run)) if key.endswith(".json")]
    return {commit for commit in commits if any(f'"{commit}"' in record for record in records)}


def _is_ours_to_delete(commit: str, lease: Lease, whole: list[str]) -> bool:
    place = position(commit)
    if place is None:
        return False
    return place.epoch < lease.epoch or (place.epoch == lease.epoch and commit in whole)
