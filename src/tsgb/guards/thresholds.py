"""From a score to a decision: thresholds that promise how often a benign call is stopped.

Promises: for calls drawn like those of the calibration, the chance of passing a threshold is at most the rate asked for
(split conformal, V. Vovk et al., Algorithmic Learning in a Random World, 2005). With fewer than 1/rate − 1 calls no
threshold can promise that: the largest score seen is taken, and `promised` says so.
Leaves out: an attacker who adapts to the guard, and calls of another kind than those calibrated on.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import Literal

from tsgb.errors import InputError
from tsgb.records.base import Record

Action = Literal["allow", "warn", "block"]
WARN_RATE, BLOCK_RATE = 0.05, 0.01


class Thresholds(Record):
    """Two scores above which a guard warns and blocks."""

    warn: float
    """Warn above this score."""
    block: float
    """Block above this score."""
    warn_rate: float
    """The share of benign calls that may be warned of or blocked."""
    block_rate: float
    """The share of benign calls that may be blocked."""
    calls: int
    """How many benign calls the thresholds were chosen on."""

    @property
    def promised(self) -> bool:
        """Whether there were enough calls for the rates to hold."""
        return _exceedances(self.calls, min(self.warn_rate, self.block_rate)) >= 0

    def action(self, score: float) -> Action:
        """What to do about a score; one that is not a number is blocked."""
        if not score <= self.block:
            return "block"
        return "allow" if score <= self.warn else "warn"


def calibrate(scores: Sequence[float], *, warn_rate: float = WARN_RATE, block_rate: float = BLOCK_RATE) -> Thresholds:
    """Thresholds from the scores of benign calls that no guard was fitted on; raises `InputError` without any."""
    if not scores:
        raise InputError("There is no benign tool call to choose thresholds on; bring benign trajectories with calls.")
    warn, block = (threshold(scores, rate) for rate in (warn_rate, block_rate))
    return Thresholds(warn=warn, block=block, warn_rate=warn_rate, block_rate=block_rate, calls=len(scores))


def threshold(scores: Sequence[float], rate: float) -> float:
    """The score that a fresh benign call exceeds with a chance of at most `rate`, or the largest one of too few."""
    return sorted(scores, reverse=True)[max(0, _exceedances(len(scores), rate))]


def _exceedances(calls: int, rate: float) -> int:
    """How many of the calibration's own scores may lie above the threshold; negative when there are too few."""
    return floor((calls + 1) * rate + 1e-9) - 1
