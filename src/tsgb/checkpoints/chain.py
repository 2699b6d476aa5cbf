"""The commits of a run from its head back to the first, as far as retention has left them.

Only what the head names is on the chain: a whole commit that its writer could not announce any more is not.
"""

from __future__ import annotations

from collections.abc import Iterator

from tsgb.checkpoints.heads import read_head
from tsgb.checkpoints.manifest import read_manifest
from tsgb.checkpoints.quarantine import quarantined
from tsgb.errors import Corrupt, Missing, StorageError
from tsgb.records.run import Manifest
from tsgb.storage import Store


def chain(store: Store, run: str, skipped: list[str] | None = None) -> Iterator[Manifest]:
    """Yield the manifests of the head and of its ancestors, newest first; why one is skipped goes to `skipped`."""
    skipped = [] if skipped is None else skipped
    head, bad = read_head(store, run).head, quarantined(store, run)
    for commit, digest in ((each.commit, each.manifest_digest) for each in (head.line if head else ())):
        if commit in bad:
            skipped.append(f"commit {commit} is in quarantine: {bad[commit]}")
            continue
        try:
            yield read_manifest(store, run, commit, digest)
        except (Missing, Corrupt) as error:
            skipped.append(why_skipped(commit, error))


def why_skipped(commit: str, error: StorageError) -> str:
    """The sentence a person reads of a commit that was not gone on from."""
    return f"commit {commit} was skipped: {error}"
