"""Files of this machine on their way to and from a remote store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from uuid import uuid4

from tsgb.storage.base import CHUNK


@dataclass
class Arrival:
    """Whether a download is whole."""

    done: bool = False


@contextmanager
def appearing(path: Path) -> Iterator[tuple[IO[bytes], Arrival]]:
    """Give a temporary file beside `path` that takes its place once the arrival is `done`, and is gone otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, arrival = path.with_name(f".tmp-{uuid4().hex}"), Arrival()
    try:
        with temporary.open("wb") as file:
            yield file, arrival
        if arrival.done:
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def same_bytes(path: Path, chunks: Iterable[bytes]) -> bool:
    """Say whether a file holds exactly these bytes, reading no more of either than it takes to tell."""
    with path.open("rb") as file:
        return all(file.read(len(chunk)) == chunk for chunk in chunks) and not file.read(1)


def in_chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, some at a time."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
