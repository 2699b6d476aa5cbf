"""From a folder of files to a commit: files first, manifest after, head last.

A writer killed in between leaves files that no manifest names, which is no commit, and the head where it was. What the
new head does not name any more is deleted only after the head has moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from uuid import uuid4

from tsgb.checkpoints.encoding import decode, digest_of, encode
from tsgb.checkpoints.layout import MANIFEST, TRAINER_STATE, commit_key, commits_prefix, marker_name, stage_of
from tsgb.checkpoints.lease import advance, require_owner
from tsgb.checkpoints.manifest import describe
from tsgb.checkpoints.pins import pinned
from tsgb.records.run import SCHEMA, Head, Kept, Lease, Manifest
from tsgb.records.training import TrainerState
from tsgb.storage import Store

FEWEST = 2
"""Commits that are never deleted: should the newest be damaged, there is one to fall back to."""


def publish(
    store: Store,
    lease: Lease,
    *,
    round_number: int,
    stage: str,
    step: int,
    folder: Path,
    data: Mapping[str, str] | None = None,
    versions: Mapping[str, str] | None = None,
    keep_last: int | None = None,
) -> Manifest:
    """Commit all files in `folder`; `data` names the digests they were computed from, `versions` what computed them.

    Of the commits of this stage only the last `keep_last`, this one included, are kept (None: all), and those pinned.
    Raises Fenced if another writer acquired the run (nothing is deleted), NoSpace if the files do not fit, and Corrupt,
    before a byte is sent, for a trainer state that is not as its schema says.
    """
    _require_valid(folder)
    seen = require_owner(store, lease)
    assert seen.head is not None
    manifest = Manifest(
        schema=SCHEMA,
        run=lease.run,
        round=round_number,
        stage=stage,
        step=step,
        epoch=lease.epoch,
        nonce=uuid4().hex[:8],
        parent=seen.head.commit,
        files=describe(folder),
        data=dict(data or {}),
        versions=dict(versions or {}),
    )
    _upload(store, manifest, folder)
    old = [] if keep_last is None else superseded(seen.head, manifest, keep_last, pinned(store, lease.run))
    kept = [each for each in seen.head.line if each not in old]
    digest = digest_of(encode(manifest))
    advance(store, lease, seen, {"commit": manifest.commit, "manifest_digest": digest, "kept": tuple(kept)})
    delete_commits(store, lease.run, (each.commit for each in old))
    return manifest


def superseded(head: Head, manifest: Manifest, keep_last: int, pins: Iterable[str]) -> list[Kept]:
    """The ancestors of the same stage that a new commit makes superfluous."""
    if keep_last < 1:
        raise ValueError(f"keep_last must be at least 1, not {keep_last}")
    spared = set(pins)
    stage = [each for each in head.line if stage_of(each.commit) == (manifest.round, manifest.stage)]
    newest = max(keep_last, FEWEST) - 1
    return [each for each in stage[newest:] if marker_name(each.commit) not in spared]


def delete_commits(store: Store, run: str, commits: Iterable[str]) -> None:
    """Remove commits that the head does not name any more, but those pinned until then.

    The manifest of each goes first, so that none is torn before it is absent.
    """
    pins = pinned(store, run)
    for commit in (each for each in commits if marker_name(each) not in pins):
        keys = store.list(f"{commits_prefix(run)}{commit}/")
        for key in sorted(keys, key=lambda key: not key.endswith(f"/{MANIFEST}")):
            store.delete(key)


def _require_valid(folder: Path) -> None:
    """What can be known before an upload; a manifest that does not fit its schema cannot be made at all."""
    if (folder / MANIFEST).exists():
        raise ValueError(f"{folder} holds a file named {MANIFEST}, which only a commit may have")
    state = folder / TRAINER_STATE
    if state.exists():
        decode(TrainerState, state.read_bytes(), str(state))


def _upload(store: Store, manifest: Manifest, folder: Path) -> None:
    store.put_files({commit_key(manifest.run, manifest.commit, name): folder / name for name in manifest.files})
    store.put_new(commit_key(manifest.run, manifest.commit, MANIFEST), encode(manifest))
