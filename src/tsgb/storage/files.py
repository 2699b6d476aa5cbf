"""Files of this machine on their way to and from a remote store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4

from tsgb.storage.answers import PastEnd, Unanswered
from tsgb.storage.base import CHUNK, Watch
from tsgb.storage.patience import Patience


def receive_file(path: Path, chunks_from: Callable[[int], Iterable[bytes]], patience: Patience, watch: Watch) -> None:
    """Fill `path`, which appears only when whole, from `chunks_from(start)`; what was cut off goes on where it was."""
    with _appearing(path) as file:
        while not patience.until_answered(lambda: _is_received(file, chunks_from, watch)):
            pass


def same_bytes(path: Path, chunks: Iterable[bytes]) -> bool:
    """Say whether a file holds exactly these bytes, reading no more of either than it takes to tell."""
    with path.open("rb") as file:
        return all(file.read(len(chunk)) == chunk for chunk in chunks) and not file.read(1)


def in_chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, some at a time."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


@contextmanager
def _appearing(path: Path) -> Iterator[IO[bytes]]:
    """Give a temporary file beside `path` that takes its place at the end of the block, or is gone if that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_received(file: IO[bytes], chunks_from: Callable[[int], Iterable[bytes]], watch: Watch) -> bool:
    """Receive what is left; returns False if it was cut off again, but not before some more had come."""
    start = file.tell()
    try:
        for chunk in chunks_from(start):
            watch(chunk)
            file.write(chunk)
    except PastEnd:
        return True
    except Unanswered:
        if file.tell() == start:
            raise
        return False
    return True
