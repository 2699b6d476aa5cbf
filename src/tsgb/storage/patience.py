"""Asking again: a request that gets no answer is repeated with growing, random pauses until patience ends.

A write whose reply was lost may have been done, so it is looked for before it is sent again. Patience counts from the
first failure: a transfer may take as long as it gets on.

Source of the pauses: «Exponential Backoff and Jitter» (AWS Architecture Blog), full jitter.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import TypeVar

from tsgb.errors import Unreachable
from tsgb.storage.answers import Refused, Unanswered

T = TypeVar("T")
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0


class Patience:
    """Repeats what `what` leaves unanswered, for at most `seconds`."""

    def __init__(
        self,
        seconds: float,
        what: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        random: Random | None = None,
    ) -> None:
        self.seconds, self.what = seconds, what
        self._clock, self._sleep, self._random = clock, sleep, random or Random()

    def until_answered(self, attempt: Callable[[], T]) -> T:
        """Return what `attempt` returns; raises Unreachable when patience ends, any error but Unanswered at once."""
        deadline: float | None = None
        pause = FIRST_PAUSE_S
        while True:
            try:
                return attempt()
            except Unanswered as error:
                deadline = self._clock() + self.seconds if deadline is None else deadline
                wait = self._random.uniform(0, pause)
                if self._clock() + wait > deadline:
                    raise Unreachable(f"{self.what} gave no answer within {self.seconds:g} s ({error}).") from None
            self._sleep(wait)
            pause = min(LONGEST_PAUSE_S, 2 * pause)

    def write(self, send: Callable[[], object], is_done: Callable[[], bool], *, same_is_mine: bool) -> bool:
        """Send a conditional write until it is answered; say whether what it was to write is there by its doing.

        Bytes like mine are mine if an earlier request went unanswered, or whoever wrote them if `same_is_mine`.
        """
        sent = 0

        def attempt() -> None:
            nonlocal sent
            if sent and is_done():
                return
            sent += 1
            send()

        try:
            self.until_answered(attempt)
        except Refused:
            return (sent > 1 or same_is_mine) and self.until_answered(is_done)
        return True
