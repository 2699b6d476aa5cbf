"""A limit on how much is sent in a second, shared by all uploads of a store."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import IO


class Pace:
    """A token bucket that holds one second's worth; 0 bytes a second: no limit."""

    def __init__(
        self,
        bytes_per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.bytes_per_second = bytes_per_second
        self._clock, self._sleep = clock, sleep
        self._free_at = clock()
        self._lock = Lock()

    def wait(self, size: int) -> None:
        """Wait until `size` more bytes may be sent."""
        if not self.bytes_per_second:
            return
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now - 1.0) + size / self.bytes_per_second
            delay = self._free_at - now
        if delay > 0:
            self._sleep(delay)


class PacedFile:
    """A file opened for reading whose `read` keeps to a pace."""

    def __init__(self, path: Path, pace: Pace) -> None:
        self._file: IO[bytes] = path.open("rb")
        self._pace = pace

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, once they may be sent."""
        data = self._file.read(size)
        self._pace.wait(len(data))
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move within the file: a client reads it twice, for its checksum and to send it."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The place in the file."""
        return self._file.tell()

    def __enter__(self) -> PacedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
