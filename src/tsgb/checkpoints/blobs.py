"""Content that is named by its own digest: shards of trajectories and sets, shared between rounds.

Training state is not kept this way: every tensor changes with each step, and shared objects would make deletion unsafe.
"""

from __future__ import annotations

from tsgb.checkpoints.encoding import digest_of
from tsgb.checkpoints.layout import blob_key
from tsgb.errors import Conflict, Corrupt
from tsgb.storage import Store


def put_blob(store: Store, run: str, data: bytes) -> str:
    """Keep some bytes and return their digest; raises Corrupt if what is kept under that name has been damaged."""
    digest = digest_of(data)
    key = blob_key(run, digest)
    try:
        store.put_new(key, data)
    except Conflict as error:
        raise Corrupt(f"{key} is damaged; delete it and run the same command again.") from error
    return digest


def get_blob(store: Store, run: str, digest: str) -> bytes:
    """Return the bytes of a digest; raises Missing, or Corrupt if they are not those."""
    key = blob_key(run, digest)
    data = store.get(key)
    if (found := digest_of(data)) != digest:
        raise Corrupt(f"{key} should have blake3 {digest}, but has {found}.")
    return data
