"""From a run's head back to files on this machine, every byte checked.

The newest commit is tried first, then its parents, as far back as retention has left them. Only what the head once
named counts: a whole commit that its writer could not announce any more is not resumed from. What was skipped, and
why, is always said.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tsgb.checkpoints.layout import commit_key
from tsgb.checkpoints.lease import read_head
from tsgb.checkpoints.manifest import read_manifest, verify
from tsgb.errors import Corrupt, Missing, StorageError
from tsgb.records.run import Manifest
from tsgb.storage import Store


class Resumed(NamedTuple):
    """Where a stage goes on."""

    manifest: Manifest | None
    """The newest whole commit of the stage; None: it begins at its beginning."""
    skipped: tuple[str, ...]
    """What was found damaged on the way there, a sentence each."""


def resume(store: Store, run: str, round_number: int, stage: str, folder: Path) -> Resumed:
    """Fetch the newest whole commit of a stage into `folder`."""
    skipped: list[str] = []
    for manifest in _chain(store, run, skipped):
        if (manifest.round, manifest.stage) != (round_number, stage):
            continue
        try:
            _fetch_files(store, manifest, folder)
        except (Missing, Corrupt) as error:
            skipped.append(_reason(manifest.commit, error))
        else:
            return Resumed(manifest, tuple(skipped))
    return Resumed(None, tuple(skipped))


def latest(store: Store, run: str, round_number: int, stage: str) -> Resumed:
    """Find the newest whole commit of a stage, as `resume` does, and keep none of its files."""
    with TemporaryDirectory() as folder:
        return resume(store, run, round_number, stage, Path(folder))


def fetch(store: Store, run: str, commit: str, folder: Path) -> Manifest:
    """Copy a commit into `folder`, all of it or nothing; raises Missing or Corrupt."""
    manifest = read_manifest(store, run, commit)
    _fetch_files(store, manifest, folder)
    return manifest


def _fetch_files(store: Store, manifest: Manifest, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".fetch-") as unchecked:
        for name, promised in manifest.files.items():
            key = commit_key(manifest.run, manifest.commit, name)
            store.get_file(key, Path(unchecked, name))
            verify(Path(unchecked, name), promised, key)
        for name in manifest.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Path(unchecked, name).replace(folder / name)


def _chain(store: Store, run: str, skipped: list[str]) -> Iterator[Manifest]:
    """Yield the manifests of the head and of its parents, as far as they can be read."""
    head, _ = read_head(store, run)
    commit, digest, parent = (head.commit, head.manifest_digest, head.parent) if head else (None, None, None)
    while commit is not None:
        try:
            manifest = read_manifest(store, run, commit, digest)
        except (Missing, Corrupt) as error:
            if digest or isinstance(error, Corrupt):  # a parent that is missing was removed by retention
                skipped.append(_reason(commit, error))
            commit = parent
        else:
            yield manifest
            commit = manifest.parent
        digest = parent = None


def _reason(commit: str, error: StorageError) -> str:
    return f"commit {commit} was skipped: {error}"
