"""From a run's head back to files on this machine, every byte checked.

The newest commit is tried first, then its parents, then whatever whole commit of the stage is still listed (retention
cuts the chain of parents, and so does a manifest that cannot be read). What was skipped, and why, is always said.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tsgb.checkpoints.layout import MANIFEST, commit_key, commits_prefix, position
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
    skipped: dict[str, str] = {}
    for manifest in _manifests(store, run, round_number, stage, skipped):
        try:
            _fetch_files(store, manifest, folder)
        except (Missing, Corrupt) as error:
            skipped[manifest.commit] = _reason(manifest.commit, error)
        else:
            return Resumed(manifest, tuple(skipped.values()))
    return Resumed(None, tuple(skipped.values()))


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


def _manifests(store: Store, run: str, round_number: int, stage: str, skipped: dict[str, str]) -> Iterator[Manifest]:
    """Yield what is readable of a stage: along the chain of parents first, then what is listed, newest first."""
    seen: set[str] = set()
    for manifest in _chain(store, run, skipped):
        seen.add(manifest.commit)
        if (manifest.round, manifest.stage) == (round_number, stage):
            yield manifest
    for commit in _listed(store, run, round_number, stage):
        if commit not in seen | skipped.keys():
            try:
                yield read_manifest(store, run, commit)
            except (Missing, Corrupt) as error:
                skipped[commit] = _reason(commit, error)


def _chain(store: Store, run: str, skipped: dict[str, str]) -> Iterator[Manifest]:
    """Yield the head's manifest and those of its parents, as far as they can be read."""
    head, _ = read_head(store, run)
    commit, digest = (head.commit, head.manifest_digest) if head else (None, None)
    while commit is not None:
        try:
            manifest = read_manifest(store, run, commit, digest)
        except (Missing, Corrupt) as error:
            if digest or isinstance(error, Corrupt):  # a parent that is missing was removed by retention
                skipped[commit] = _reason(commit, error)
            return
        yield manifest
        commit, digest = manifest.parent, None


def _listed(store: Store, run: str, round_number: int, stage: str) -> list[str]:
    prefix = commits_prefix(run)
    keys = [key for key in store.list(prefix) if key.endswith(f"/{MANIFEST}")]
    commits = [key.removeprefix(prefix).removesuffix(f"/{MANIFEST}") for key in keys]
    places = {commit: place for commit in commits if (place := position(commit))}
    ours = [commit for commit, place in places.items() if (place.round, place.stage) == (round_number, stage)]
    return sorted(ours, key=lambda commit: places[commit], reverse=True)


def _reason(commit: str, error: StorageError) -> str:
    return f"commit {commit} was skipped: {error}"
