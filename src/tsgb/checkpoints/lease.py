"""Who may write to a run: one writer at a time, decided by compare-and-set on the head and by no clock.

To acquire is to raise the epoch in the head, which fences every older writer at once. A fenced writer finds out when it
tries to commit; it stops and deletes nothing. Not here: heartbeats, and the decision when to replace a silent writer.
"""

from __future__ import annotations

from uuid import uuid4

from tsgb.checkpoints.encoding import decode, digest_of, encode
from tsgb.checkpoints.layout import head_key, lease_key
from tsgb.errors import Conflict, Fenced, Missing
from tsgb.records.run import SCHEMA, Head, Lease, Manifest
from tsgb.storage import Store


def read_head(store: Store, run: str) -> tuple[Head | None, bytes | None]:
    """Return the head of a run and its bytes, which a swap has to name; None twice before the first writer."""
    try:
        data = store.get(head_key(run))
    except Missing:
        return None, None
    return decode(Head, data, head_key(run)), data


def acquire(store: Store, run: str, owner: str) -> Lease:
    """Become the only writer of a run, fencing all others, and clear away what killed writers left unfinished."""
    store.sweep()
    while True:
        head, seen = read_head(store, run)
        taken = _taken_over(head, owner)
        try:
            store.compare_and_set(head_key(run), seen, encode(taken))
        except Conflict:
            continue
        lease = Lease(schema=SCHEMA, run=run, epoch=taken.epoch, owner=owner, nonce=taken.nonce)
        store.put_new(lease_key(run, lease.epoch), encode(lease))
        return lease


def require_owner(store: Store, lease: Lease) -> tuple[Head, bytes]:
    """Return the head and its bytes as `read_head` does; raises Fenced if another writer acquired the run since."""
    head, seen = read_head(store, lease.run)
    if head is None or seen is None:
        raise Fenced(f"run «{lease.run}» has lost its head; this writer (epoch {lease.epoch}) stops.")
    if (head.epoch, head.nonce) != (lease.epoch, lease.nonce):
        now = f"epoch {head.epoch}, «{head.owner}»"
        raise Fenced(f"run «{lease.run}» belongs to another writer now ({now}); this one (epoch {lease.epoch}) stops.")
    return head, seen


def advance(store: Store, lease: Lease, manifest: Manifest) -> None:
    """Point the head at a commit that is whole; raises Fenced if another writer acquired the run."""
    head, seen = require_owner(store, lease)
    digest = digest_of(encode(manifest))
    commit = {"commit": manifest.commit, "manifest_digest": digest, "parent": manifest.parent}
    moved = head.model_copy(update={"seq": head.seq + 1, **commit})
    try:
        store.compare_and_set(head_key(lease.run), seen, encode(moved))
    except Conflict:
        require_owner(store, lease)
        raise


def _taken_over(head: Head | None, owner: str) -> Head:
    nonce = uuid4().hex
    if head is None:
        nothing = {"commit": None, "manifest_digest": None, "parent": None}
        return Head(schema=SCHEMA, seq=0, epoch=1, owner=owner, nonce=nonce, **nothing)
    return head.model_copy(update={"seq": head.seq + 1, "epoch": head.epoch + 1, "owner": owner, "nonce": nonce})
