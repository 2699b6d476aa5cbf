"""The head of a run: read, and moved in one step or not at all.

Where compare-and-set holds the head is one object. Elsewhere it is the newest of many, written once each below an epoch
that the manager granted: highest epoch, then highest `seq`. A writer of a lower epoch can add heads that nobody reads.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import NamedTuple

from tsgb.checkpoints.encoding import decode, encode, is_intact, sealed
from tsgb.checkpoints.layout import epochs_prefix, granted_head_key, head_key, lease_key
from tsgb.errors import Conflict, Corrupt, Missing
from tsgb.records.run import Head, Lease
from tsgb.storage import Store

_GRANTED = re.compile(r".*/epochs/(\d+)/(lease|heads/(\d+))\.json")


class Seen(NamedTuple):
    """A head as it was read, which is what a move starts from."""

    head: Head | None
    """None before the first writer."""
    data: bytes | None
    """Its bytes."""
    epoch: int = 0
    """The highest epoch granted; 0 where the head itself says."""


def read_head(store: Store, run: str) -> Seen:
    """Return the head of a run; raises Corrupt if it is damaged, or gone though somebody acquired the run with it."""
    with suppress(Missing):
        return _read_fencing(store, run)
    seen = _read_granted(store, run)
    if seen.epoch and not _is_granted(store, run, seen.epoch):
        with suppress(Missing):  # written before the lease, perhaps since
            return _read_fencing(store, run)
        cure = f"`tsgb checkpoints repair {run}` builds it anew"
        raise Corrupt(f"{head_key(run)} is gone, though the run has epochs; {cure}.")
    return seen


def move_head(store: Store, run: str, seen: Seen, new: Head, *, granted: bool) -> None:
    """Replace the head that was `seen`; raises Conflict if it is not that any more.

    A granted head counts only if no newer epoch is found once it is there: whoever was granted one later must see it.
    """
    if not granted:
        store.compare_and_set(head_key(run), seen.data, encode(sealed(new)))
        return
    store.put_new(granted_head_key(run, new.epoch, new.seq), encode(sealed(new)))
    if _read_granted(store, run).epoch != new.epoch:
        raise Conflict(f"run «{run}» has a newer epoch than {new.epoch}; another writer was granted it.")


def _read_fencing(store: Store, run: str) -> Seen:
    data = store.get(head_key(run))
    return Seen(_opened(data, head_key(run)), data)


def _is_granted(store: Store, run: str, epoch: int) -> bool:
    key = lease_key(run, epoch)
    return decode(Lease, store.get(key), key).granted


def _read_granted(store: Store, run: str) -> Seen:
    """The newest head below the highest epoch that has one, and the highest epoch granted."""
    matches = [match for key in store.list(epochs_prefix(run)) if (match := _GRANTED.fullmatch(key))]
    epoch = max((int(match[1]) for match in matches if match[2] == "lease"), default=0)
    heads = [(int(match[1]), int(match[3])) for match in matches if match[3]]
    if not heads:
        return Seen(None, None, epoch)
    key = granted_head_key(run, *max(heads))
    data = store.get(key)
    return Seen(_opened(data, key), data, epoch)


def _opened(data: bytes, key: str) -> Head:
    cure = f"`tsgb checkpoints repair {key.split('/')[1]}` builds it anew"
    try:
        head = decode(Head, data, key)
    except Corrupt as error:
        raise Corrupt(f"{str(error).removesuffix('.')}; {cure}.") from None
    if not is_intact(head):
        raise Corrupt(f"{key} is damaged: its checksum does not fit; {cure}.")
    return head
