"""What a commit promises: which files, how long, with which hashes; and whether it keeps its promise.

Tensor formats notice a missing tail but not a flipped bit, so every file is hashed on the way in and on the way out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from blake3 import blake3

from tsgb.checkpoints.encoding import decode, digest_of, digest_of_file
from tsgb.checkpoints.layout import MANIFEST, commit_key
from tsgb.errors import Corrupt, Missing
from tsgb.records.run import FileEntry, Manifest
from tsgb.storage import Store

Advance = Callable[[int], object]
"""Hears how many more bytes have come; from several threads."""


def unheeded(size: int) -> None:
    """Let bytes come unheard."""


def describe(folder: Path) -> dict[str, FileEntry]:
    """Say what a manifest will promise of the files in `folder`, by their paths inside it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _entry(path) for path in paths}


def verify(path: Path, promised: FileEntry, name: str) -> None:
    """Raise Missing or Corrupt, naming the file with what was expected and found, unless it is as promised."""
    if not path.is_file():
        raise Missing(f"{name} is not there, though its manifest promises it; take another commit or run.")
    _require(_entry(path), promised, name)


def download(store: Store, key: str, promised: FileEntry, path: Path, advance: Advance = unheeded) -> None:
    """Copy a file of a commit to `path`, hashed on the way; raises Missing, or Corrupt if it is not as promised."""
    try:
        _download(store, key, promised, path, advance)
    except Corrupt:  # damaged on the way, perhaps
        _download(store, key, promised, path, unheeded)


def read_manifest(store: Store, run: str, commit: str, digest: str | None = None) -> Manifest:
    """Read the manifest of a commit; raises Missing, or Corrupt if it is another's or has not the `digest` given."""
    key = commit_key(run, commit, MANIFEST)
    data = store.get(key)
    if digest is not None and digest_of(data) != digest:
        raise Corrupt(f"{key} should have blake3 {digest}, but has {digest_of(data)}.")
    manifest = decode(Manifest, data, key)
    if (manifest.run, manifest.commit) != (run, commit):
        raise Corrupt(f"{key} should describe {run}/{commit}, but describes {manifest.run}/{manifest.commit}.")
    return manifest


def _download(store: Store, key: str, promised: FileEntry, path: Path, advance: Advance) -> None:
    hasher = blake3()

    def watch(chunk: bytes) -> None:
        hasher.update(chunk)
        advance(len(chunk))

    store.get_file(key, path, watch)
    _require(FileEntry(size=path.stat().st_size, blake3=hasher.hexdigest()), promised, key)


def _require(found: FileEntry, promised: FileEntry, name: str) -> None:
    if found != promised:
        expected = f"{promised.size} bytes, blake3 {promised.blake3}"
        raise Corrupt(f"{name} should be {expected}, but is {found.size} bytes, blake3 {found.blake3}.")


def _entry(path: Path) -> FileEntry:
    return FileEntry(size=path.stat().st_size, blake3=digest_of_file(path))
