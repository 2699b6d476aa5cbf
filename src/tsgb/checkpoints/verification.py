"""Whether commits keep their promises: every byte is read and hashed, and nothing is changed.

An unanswered request ends the whole, for what was not read is neither whole nor damaged. What damage means for a run is
for others to say: a writer skips such a commit by itself, a person may put it in quarantine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from tsgb.checkpoints.layout import commit_key
from tsgb.checkpoints.listing import Named
from tsgb.checkpoints.manifest import download, read_manifest
from tsgb.errors import Corrupt, Missing
from tsgb.records.base import Record
from tsgb.records.run import Manifest
from tsgb.storage import Store

_AT_ONCE = 4


class Verified(Record):
    """What was found of a commit."""

    commit: str
    """Name of the commit."""
    files: int
    """How many files its manifest promises."""
    size: int
    """How long they are together, in bytes."""
    damage: tuple[str, ...]
    """What is wrong, a sentence for each file; none: the commit is whole."""


def verify_commits(store: Store, run: str, commits: Iterable[Named]) -> Iterator[Verified]:
    """Read every byte of some commits, a few commits side by side, and yield what was found in their order."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        yield from threads.map(lambda named: _verified(store, run, named), commits)


def _verified(store: Store, run: str, named: Named) -> Verified:
    try:
        manifest = read_manifest(store, run, named.commit, named.manifest_digest)
    except (Missing, Corrupt) as error:
        return Verified(commit=named.commit, files=0, size=0, damage=(str(error),))
    size = sum(file.size for file in manifest.files.values())
    damage = tuple(_damage(store, manifest))
    return Verified(commit=named.commit, files=len(manifest.files), size=size, damage=damage)


def _damage(store: Store, manifest: Manifest) -> Iterator[str]:
    with TemporaryDirectory() as folder:
        for name, promised in manifest.files.items():
            path = Path(folder, "file")
            try:
                download(store, commit_key(manifest.run, manifest.commit, name), promised, path)
            except (Missing, Corrupt) as error:
                yield str(error)
            path.unlink(missing_ok=True)
