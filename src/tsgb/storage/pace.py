"""A limit on how much is sent in a second, shared by all uploads of a store."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock


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
