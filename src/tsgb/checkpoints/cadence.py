"""How often a checkpoint is worth its cost: a fixed number of steps, or what was measured.

Source of the interval: Young 1974 and Daly 2006, as in Herault et al., «Optimal Checkpointing Period with Replicated
Execution» (hal-02514107): √(2·C·M) for a stall of C seconds and M seconds between interruptions.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

LONGEST_S = 300.0
"""No interval is longer, however cheap the hosts are said to be."""


def best_interval_s(stall_s: float, upload_s: float, interruptions_per_hour: float) -> float:
    """Seconds of work between checkpoints that lose the least: Young and Daly's, at least one upload, at most 300 s."""
    between_s = 3600.0 / interruptions_per_hour
    return min(LONGEST_S, max(upload_s, sqrt(2 * stall_s * between_s)))


@dataclass
class Cadence:
    """When the next checkpoint is due; told what each one cost."""

    steps: int = 1
    """Optimizer steps between two; 0: as often as the costs say."""
    interruptions_per_hour: float = 1.0
    """How often this host is expected to vanish."""
    stall_s: float = 0.0
    """Seconds for which the last snapshot kept training waiting."""
    upload_s: float = 0.0
    """Seconds that the last one took to be committed."""

    def due(self, steps_since: int, seconds_since: float) -> bool:
        """Say whether to take one now, so many steps and seconds after the last."""
        if self.steps:
            return steps_since >= self.steps
        return seconds_since >= best_interval_s(self.stall_s, self.upload_s, self.interruptions_per_hour)
