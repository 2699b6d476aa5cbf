"""Asking again: a request that gets no answer is repeated with growing, random pauses until patience ends.

Source of the pauses: «Exponential Backoff and Jitter» (AWS Architecture Blog), full jitter.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import TypeVar

from tsgb.errors import Unreachable

T = TypeVar("T")
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0


class Patience:
    """Repeats what fails for want of an answer, for at most `seconds`."""

    def __init__(
        self,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        random: Random | None = None,
    ) -> None:
        self.seconds = seconds
        self._clock, self._sleep, self._random = clock, sleep, random or Random()

    def until_answered(self, attempt: Callable[[], T], is_transient: Callable[[Exception], bool], what: str) -> T:
        """Return what `attempt` returns; raises Unreachable naming `what` when patience ends, other errors at once."""
        deadline, pause = self._clock() + self.seconds, FIRST_PAUSE_S
        while True:
            try:
                return attempt()
            except Exception as error:
                if not is_transient(error):
                    raise
                wait = self._random.uniform(0, pause)
                if self._clock() + wait > deadline:
                    kind = type(error).__name__
                    raise Unreachable(f"{what} got no answer within {self.seconds:g} s ({kind}); is it up?") from None
                self._sleep(wait)
                pause = min(LONGEST_PAUSE_S, 2 * pause)
