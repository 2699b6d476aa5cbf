"""Who may write to a run: one writer at a time, decided by compare-and-set on the head and by no clock.

To acquire is to raise the epoch in the head, which fences every older writer at once. A fenced writer finds out when it
tries to commit; it stops and deletes nothing. In a store that cannot fence, the manager grants the epochs. Not here:
heartbeats, and the decision when to replace a silent writer.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from uuid import uuid4

from tsgb.checkpoints.encoding import decode, encode, sealed
from tsgb.checkpoints.heads import Seen, move_head, read_head
from tsgb.checkpoints.layout import lease_key
from tsgb.errors import Conflict, Fenced, NoCompareAndSet
from tsgb.records.run import SCHEMA, Head, Lease
from tsgb.storage import Store

Change = Callable[[Head], dict[str, object]]


def acquire(store: Store, run: str, owner: str, *, granted_epoch: int = 0) -> Lease:
    """Become the only writer of a run, fencing all others, and clear away what killed writers left unfinished.

    Raises NoCompareAndSet if the store cannot fence and no epoch was granted, Fenced if that epoch is not the newest.
    """
    store.sweep()
    if not granted_epoch:
        store.probe()
        return take_over(store, run, owner, lambda head: {})
    return _begin_granted(store, decode(Lease, store.get(key := lease_key(run, granted_epoch)), key))


def grant(store: Store, run: str, owner: str) -> Lease:
    """Grant the next epoch of a run in a store that cannot fence; for the manager, of which there is one, to call."""
    seen = read_head(store, run)
    if not seen.epoch and (seen.head or _fences(store)):
        raise NoCompareAndSet(f"run «{run}» is fenced by its store; its epochs need no granting, leave out the epoch.")
    lease = Lease(schema=SCHEMA, run=run, epoch=seen.epoch + 1, owner=owner, nonce=uuid4().hex, granted=True)
    store.put_new(lease_key(run, lease.epoch), encode(lease))
    return lease


def this_host() -> str:
    """The name under which this machine becomes a writer."""
    return platform.node() or "local"


def take_over(store: Store, run: str, owner: str, change: Change) -> Lease:
    """Raise the epoch and change the head in the same move."""
    nonce = uuid4().hex
    while True:
        seen = read_head(store, run)
        taken = _taken_over(seen.head, owner, nonce, change)
        try:
            move_head(store, run, seen, taken, granted=False)
        except Conflict:
            continue
        lease = Lease(schema=SCHEMA, run=run, epoch=taken.epoch, owner=owner, nonce=nonce)
        store.put_new(lease_key(run, lease.epoch), encode(lease))
        return lease


def require_owner(store: Store, lease: Lease) -> Seen:
    """Return the head as it is; raises Fenced if another writer acquired the run since."""
    seen = read_head(store, lease.run)
    if seen.head is None:
        raise Fenced(f"run «{lease.run}» has lost its head; this writer (epoch {lease.epoch}) stops.")
    now = (seen.epoch or seen.head.epoch, seen.head.nonce)
    if now != (lease.epoch, lease.nonce):
        who = f"epoch {now[0]}, «{seen.head.owner}»"
        raise Fenced(f"run «{lease.run}» belongs to another writer now ({who}); this one (epoch {lease.epoch}) stops.")
    return seen


def advance(store: Store, lease: Lease, seen: Seen, change: Mapping[str, object]) -> Head:
    """Change the head that was seen before an upload, and return the new one.

    Raises Fenced if another writer acquired the run. A move whose reply was lost is recognised by its own bytes.
    """
    assert seen.head is not None
    moved = sealed(seen.head.model_copy(update={"seq": seen.head.seq + 1, **change}))
    try:
        move_head(store, lease.run, seen, moved, granted=lease.granted)
    except Conflict:
        if require_owner(store, lease).head != moved:
            raise
    return moved


def _fences(store: Store) -> bool:
    try:
        store.probe()
    except NoCompareAndSet:
        return False
    return True


def _begin_granted(store: Store, lease: Lease) -> Lease:
    """Put the first head of a granted epoch on top of what the epochs before it have come to."""
    seen = read_head(store, lease.run)
    if seen.epoch != lease.epoch:
        raise Fenced(f"epoch {lease.epoch} of run «{lease.run}» was granted, but epoch {seen.epoch} is newer: stop.")
    if seen.head is None or seen.head.epoch != lease.epoch:
        first = _taken_over(seen.head, lease.owner, lease.nonce, lambda head: {"epoch": lease.epoch})
        move_head(store, lease.run, seen, first.model_copy(update={"epoch": lease.epoch}), granted=True)
    return lease


def _taken_over(head: Head | None, owner: str, nonce: str, change: Change) -> Head:
    if head is None:
        return Head(schema=SCHEMA, seq=0, epoch=1, owner=owner, nonce=nonce, commit=None, manifest_digest=None)
    taken = {"seq": head.seq + 1, "epoch": head.epoch + 1, "owner": owner, "nonce": nonce}
    return head.model_copy(update=taken | change(head))
