"""From a folder of files to a commit: files first, manifest after, head last.

A writer killed in between leaves files that no manifest names, which is no commit, and the head where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from tsgb.checkpoints.encoding import encode
from tsgb.checkpoints.layout import MANIFEST, commit_key
from tsgb.checkpoints.lease import advance, require_owner
from tsgb.checkpoints.manifest import describe
from tsgb.records.run import SCHEMA, Lease, Manifest
from tsgb.storage import Store


def publish(
    store: Store,
    lease: Lease,
    *,
    round_number: int,
    stage: str,
    step: int,
    folder: Path,
    data: Mapping[str, str] | None = None,
) -> Manifest:
    """Commit all files in `folder`; `data` names the digests they were computed from.

    Raises Fenced if another writer acquired the run (nothing is deleted) and NoSpace if the files do not fit.
    """
    head, _ = require_owner(store, lease)
    manifest = Manifest(
        schema=SCHEMA,
        run=lease.run,
        round=round_number,
        stage=stage,
        step=step,
        epoch=lease.epoch,
        nonce=uuid4().hex[:8],
        parent=head.commit,
        files=describe(folder),
        data=dict(data or {}),
    )
    _upload(store, manifest, folder)
    advance(store, lease, manifest)
    return manifest


def _upload(store: Store, manifest: Manifest, folder: Path) -> None:
    if MANIFEST in manifest.files:
        raise ValueError(f"{folder} holds a file named {MANIFEST}, which only a commit may have")
    for name in manifest.files:
        store.put_file(commit_key(manifest.run, manifest.commit, name), folder / name)
    store.put_new(commit_key(manifest.run, manifest.commit, MANIFEST), encode(manifest))
