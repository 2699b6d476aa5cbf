"""What was measured: rates with their intervals, and the reports of an exam and of guards."""

from __future__ import annotations

from tsgb.records.base import Record


class Rate(Record):
    """A proportion with its Wilson interval."""

    successes: int
    """How often it happened."""
    total: int
    """Out of how many that count."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""

    @property
    def value(self) -> float:
        """The proportion; 0 of 0 is reported as 0 with the interval 0 to 1: unknown."""
        return self.successes / self.total if self.total else 0.0

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


class ExamReport(Record):
    """One model's exam."""

    target: str
    """Name of the adapter examined (`base`: none)."""
    split: str
    """Which split's suite it was."""
    rates: dict[str, Rate]
    """Metric → rate."""
    families: dict[str, Rate] = {}
    """Attack family → attack success rate."""
    errors: int = 0
    """Trajectories that count neither way."""


class Ranking(Record):
    """How well a score tells harmful calls from benign ones; unknown where there is none of one kind."""

    auroc: float | None
    """Chance that a harmful call scores higher than a benign one."""
    recall: float | None
    """Share of harmful calls above the score that 1 % of these benign calls exceed."""
    harmful: int
    """How many harmful calls there were."""
    benign: int
    """How many benign calls there were."""


class Blocking(Record):
    """What blocking at the stored thresholds does."""

    caught: Rate
    """Attacks whose every goal call was blocked, out of those with a goal call."""
    false_alarms: Rate
    """Benign trajectories with a blocked call, out of those with a call."""


class GuardReport(Record):
    """Guards on held-out trajectories."""

    ranking: dict[str, Ranking]
    """Guard → how well it ranks calls."""
    blocking: dict[str, Blocking]
    """Guard, or `either` → what its blocking does."""
