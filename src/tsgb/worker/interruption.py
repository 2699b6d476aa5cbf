"""SIGTERM and SIGINT: a first one lets what is being computed be committed, a second one exits on the spot.

Training looks at `asked` after every step. Work that keeps nothing between its parts is broken off at once: what it has
stored is whole, and what it has not is played again.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tsgb.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOTICE_S = 15.0
"""Seconds that a signal leaves for a last commit; a provider's own notice says how many."""


class Interruption:
    """Whether somebody wants this process gone, and by when."""

    def __init__(self) -> None:
        self.asked: str | None = None
        self._deadline = 0.0
        self._deferring = 0

    @property
    def seconds_left(self) -> float:
        """Seconds until the host may vanish, counted from the first notice."""
        return self._deadline - time.monotonic()

    def announce(self, why: str, seconds: float = NOTICE_S) -> None:
        """Say that this host will vanish; raises Interrupted unless a deferred section is running."""
        self.asked, self._deadline = why, time.monotonic() + seconds
        if not self._deferring:
            self.check()

    def check(self) -> None:
        """Raise Interrupted if somebody asked."""
        if self.asked:
            raise Interrupted(self.asked)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let the block decide itself when to stop; it has to call `check`."""
        self._deferring += 1
        try:
            yield
        finally:
            self._deferring -= 1
        self.check()

    @contextmanager
    def heard(self) -> Iterator[Interruption]:
        """Listen to the signals until the end of the block; only a main thread can."""
        before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            os._exit(128 + number)
        self.announce(signal.Signals(number).name)
