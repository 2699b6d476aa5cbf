"""What every store promises: bytes by key, written whole or not at all.

A key is a relative path of plain names (`runs/demo/HEAD`). Two writes exist and neither can destroy what another
writer put down: `put_new` creates, `compare_and_set` replaces exactly the bytes that the writer has seen. A key is
either created for good or moved by `compare_and_set` from its first bytes on; a store may answer Conflict to who mixes
them. A write that returned is durable; a write that was killed left nothing that a reader can see. A reply that was
lost is looked up before a write is repeated; where that cannot be done either, the error is Unreachable, and it is
unknown whether the write happened. Stores know nothing of runs, commits or records.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tsgb.errors import InputError

LEFTOVER_AGE_S = 3600.0
"""Seconds without a write after which an unfinished file counts as abandoned."""

CHUNK = 1 << 20
"""Bytes that are read or sent at a time."""
PROBE = "probe/"
"""Where `probe` writes what it removes again."""
PROBE_CURE = "set run.granted_epoch to one that the manager granted, or keep the run in a store that can fence"
"""What a person can do about a store that cannot fence a writer."""

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.=+-]{0,199}"
_KEY = re.compile(rf"{_NAME}(?:/{_NAME})*")


Watch = Callable[[bytes], object]
"""Sees every chunk of a download, in order: a hash, say."""


def unwatched(chunk: bytes) -> None:
    """Let a download pass unseen."""


class Store(Protocol):
    """Bytes by key, with create-only writes and compare-and-set."""

    def probe(self) -> None:
        """Try out whether compare-and-set holds here, in under two seconds; raises NoCompareAndSet, saying why not."""

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes under `key`, or those from `start` up to `stop`; raises Missing."""

    def get_file(self, key: str, path: Path, watch: Watch = unwatched) -> None:
        """Stream the bytes under `key` into the file `path`, which appears only when whole; raises Missing."""

    def put_new(self, key: str, data: bytes) -> None:
        """Create `key`; fine if it holds the same bytes, Conflict if it holds others, NoSpace if they do not fit."""

    def put_file(self, key: str, path: Path) -> None:
        """Create `key` from the file `path`, streamed; raises as `put_new` does."""

    def put_files(self, files: Mapping[str, Path]) -> None:
        """Create several keys of one folder from files, side by side where that is faster; raises as `put_new` does."""

    def compare_and_set(self, key: str, expected: bytes | None, new: bytes) -> None:
        """Replace `expected` (None: no such key) by `new` in one step; raises Conflict if `key` holds anything else."""

    def exists(self, key: str) -> bool:
        """Say whether `key` holds bytes."""

    def list(self, prefix: str) -> Sequence[str]:
        """Return the sorted keys that begin with `prefix`; unfinished writes are not among them."""

    def delete(self, key: str) -> None:
        """Remove `key`; a key that is not there counts as removed."""

    def sweep(self, older_than_s: float = LEFTOVER_AGE_S) -> int:
        """Remove what killed writers left unfinished more than `older_than_s` seconds ago; returns how many files."""


def is_key(text: str) -> bool:
    """Say whether `text` is a relative path of plain names: letters, digits and `_.=+-`, no leading dot or sign."""
    return _KEY.fullmatch(text) is not None


def check_key(key: str) -> str:
    """Return `key` if it may name an object; raises InputError."""
    if not is_key(key):
        raise InputError(f"«{key}» cannot name a stored object; use letters, digits and _.=+- in names joined by /.")
    return key
