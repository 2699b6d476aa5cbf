"""From a commit to a new folder of a person's own, which appears only when all of it is there and checked.

`pull` copies a commit as it is stored, manifest included, so that the folder can be verified for as long as it is kept.
`export` copies a bundle, the commit of a stage `guards`: adapter as PEFT stores it, and its guards. A commit of a stage
`train` is no adapter and is not made one here: how its tensors are scaled and where they belong is known to the
program that trains, and the bundle of the round is that very adapter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tsgb.checkpoints.encoding import encode
from tsgb.checkpoints.layout import ADAPTER, MANIFEST
from tsgb.checkpoints.manifest import Advance, unheeded
from tsgb.checkpoints.resume import fetch_files
from tsgb.errors import InputError
from tsgb.records.run import Manifest
from tsgb.storage import Store


def pull(store: Store, manifest: Manifest, folder: Path, advance: Advance = unheeded) -> None:
    """Copy a commit and its manifest into a new folder; raises InputError for the folder, Missing and Corrupt."""
    with _appearing(folder) as made:
        fetch_files(store, manifest, made, advance)
        (made / MANIFEST).write_bytes(encode(manifest))


def export(store: Store, manifest: Manifest, folder: Path, advance: Advance = unheeded) -> None:
    """Copy a bundle's adapter and guards into a new folder; raises as `pull` does, and for what is no bundle."""
    _require_bundle(manifest)
    with _appearing(folder) as made:
        fetch_files(store, manifest, made, advance)


def _require_bundle(manifest: Manifest) -> None:
    if ADAPTER not in manifest.files:
        cure = f"take one of the stage guards, or its files as they are: tsgb checkpoints pull {manifest.run}"
        raise InputError(
            f"{manifest.commit} is a commit of the stage {manifest.stage}, and only bundles are adapters; "
            f"{cure} {manifest.commit}."
        )


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A folder out of sight, which takes the name asked for when the body is through."""
    if folder.exists() and not _is_empty(folder):
        raise InputError(f"{folder} exists already; name a new folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as hidden:
            made = Path(hidden, folder.name)
            made.mkdir()
            yield made
            made.replace(folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); name another folder.") from error


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
