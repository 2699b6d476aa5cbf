"""Commits that a person wants kept, whatever retention would do."""

from __future__ import annotations

from tsgb.checkpoints.encoding import encode
from tsgb.checkpoints.layout import pins_prefix
from tsgb.checkpoints.manifest import read_manifest
from tsgb.checkpoints.markers import marked, marker_key
from tsgb.errors import Conflict
from tsgb.records.run import SCHEMA, Pin
from tsgb.storage import Store


def pin(store: Store, run: str, commit: str, reason: str = "") -> None:
    """Keep a commit until it is unpinned; raises Missing if there is no such commit."""
    read_manifest(store, run, commit)
    try:
        store.put_new(marker_key(pins_prefix(run), commit), encode(Pin(schema=SCHEMA, commit=commit, reason=reason)))
    except Conflict:
        return  # pinned already, for another reason


def unpin(store: Store, run: str, commit: str) -> None:
    """Leave a commit to retention again."""
    store.delete(marker_key(pins_prefix(run), commit))


def is_pinned(store: Store, run: str, commit: str) -> bool:
    """Say whether a commit is pinned."""
    return store.exists(marker_key(pins_prefix(run), commit))


def pinned(store: Store, run: str) -> set[str]:
    """The commits that are pinned, as `marker_name` spells them."""
    return marked(store, pins_prefix(run))
