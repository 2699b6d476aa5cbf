"""Commits that a person wants kept, whatever retention would do."""

from __future__ import annotations

from contextlib import suppress

from tsgb.checkpoints.encoding import encode
from tsgb.checkpoints.heads import read_head
from tsgb.checkpoints.layout import pins_prefix
from tsgb.checkpoints.manifest import read_manifest
from tsgb.checkpoints.markers import marked, marker_key
from tsgb.errors import Conflict, InputError
from tsgb.records.run import SCHEMA, Pin
from tsgb.storage import Store


def pin(store: Store, run: str, commit: str, reason: str = "") -> None:
    """Keep a commit on the chain until it is unpinned; raises Missing if there is none, InputError if it has left.

    Who deletes moves the head first and then looks for pins, so a pin is in time if the head names its commit still.
    """
    read_manifest(store, run, commit)
    with suppress(Conflict):  # pinned already, for another reason
        store.put_new(marker_key(pins_prefix(run), commit), encode(Pin(schema=SCHEMA, commit=commit, reason=reason)))
    head = read_head(store, run).head
    if commit not in [each.commit for each in (head.line if head else ())]:
        raise InputError(f"{commit} has left the chain of run «{run}» and may be deleted; copy it, or pin earlier.")


def unpin(store: Store, run: str, commit: str) -> None:
    """Leave a commit to retention again."""
    store.delete(marker_key(pins_prefix(run), commit))


def is_pinned(store: Store, run: str, commit: str) -> bool:
    """Say whether a commit is pinned."""
    return store.exists(marker_key(pins_prefix(run), commit))


def pinned(store: Store, run: str) -> set[str]:
    """The commits that are pinned, as `marker_name` spells them."""
    return marked(store, pins_prefix(run))
