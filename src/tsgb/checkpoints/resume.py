"""From a run's head back to files on this machine, every byte checked on its way.

The newest commit is tried first, then its ancestors, as far back as retention has left them. What is damaged is put in
quarantine and named; what was skipped, and why, is always said.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tsgb.checkpoints.chain import chain, why_skipped
from tsgb.checkpoints.layout import commit_key
from tsgb.checkpoints.manifest import Advance, download, read_manifest, unheeded
from tsgb.checkpoints.quarantine import quarantine
from tsgb.errors import Corrupt, Missing
from tsgb.records.run import Manifest
from tsgb.storage import Store

_AT_ONCE = 4


class Resumed(NamedTuple):
    """Where a stage goes on."""

    manifest: Manifest | None
    """The newest whole commit of the stage; None: it begins at its beginning."""
    skipped: tuple[str, ...]
    """What was found damaged on the way there, a sentence each."""


def resume(store: Store, run: str, round_number: int, stage: str, folder: Path) -> Resumed:
    """Fetch the newest whole commit of a stage into `folder`; what is damaged goes into quarantine."""
    skipped: list[str] = []
    for manifest in chain(store, run, skipped):
        if (manifest.round, manifest.stage) != (round_number, stage):
            continue
        try:
            fetch_files(store, manifest, folder)
        except (Missing, Corrupt) as error:
            skipped.append(why_skipped(manifest.commit, error))
            quarantine(store, run, manifest.commit, str(error))
        else:
            return Resumed(manifest, tuple(skipped))
    return Resumed(None, tuple(skipped))


def resume_point(store: Store, run: str) -> Resumed:
    """The newest commit that a writer would try first, by its manifest alone, and what would be skipped before it."""
    skipped: list[str] = []
    manifest = next(chain(store, run, skipped), None)
    return Resumed(manifest, tuple(skipped))


def latest(store: Store, run: str, round_number: int, stage: str) -> Resumed:
    """Find the newest whole commit of a stage, as `resume` does, and keep none of its files."""
    with TemporaryDirectory() as folder:
        return resume(store, run, round_number, stage, Path(folder))


def fetch(store: Store, run: str, commit: str, folder: Path) -> Manifest:
    """Copy a commit into `folder`, all of it or nothing; raises Missing or Corrupt."""
    manifest = read_manifest(store, run, commit)
    fetch_files(store, manifest, folder)
    return manifest


def fetch_files(store: Store, manifest: Manifest, folder: Path, advance: Advance = unheeded) -> None:
    """Copy what a manifest promises into `folder`, all of it or nothing; raises Missing or Corrupt."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".fetch-") as unchecked, ThreadPoolExecutor(_AT_ONCE) as threads:

        def fetch_one(name: str) -> None:
            key, path = commit_key(manifest.run, manifest.commit, name), Path(unchecked, name)
            download(store, key, manifest.files[name], path, advance)

        list(threads.map(fetch_one, manifest.files))
        for name in manifest.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Path(unchecked, name).replace(folder / name)
