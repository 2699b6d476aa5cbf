"""Commits that are not to be gone on from, and why: a damaged file, a loss that was not a number.

A record beside the commit says so; the commit itself stays as it is, for whoever wants to look into it.
"""

from __future__ import annotations

from tsgb.checkpoints.encoding import decode, encode
from tsgb.checkpoints.layout import quarantine_prefix
from tsgb.checkpoints.markers import marker_key
from tsgb.errors import Conflict
from tsgb.records.run import SCHEMA, Quarantine
from tsgb.storage import Store


def quarantine(store: Store, run: str, commit: str, reason: str) -> None:
    """Keep every later writer from going on from a commit; the first reason given stands."""
    record = Quarantine(schema=SCHEMA, commit=commit, reason=reason)
    try:
        store.put_new(marker_key(quarantine_prefix(run), commit), encode(record))
    except Conflict:
        return


def quarantined(store: Store, run: str) -> dict[str, str]:
    """The reason for every commit that is in quarantine."""
    records = (decode(Quarantine, store.get(key), key) for key in store.list(quarantine_prefix(run)))
    return {record.commit: record.reason for record in records}
