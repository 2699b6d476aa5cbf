"""What was measured: rates with their intervals, and the reports of an exam, of guards, of a round, of a transfer."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tsgb.records.base import Record
from tsgb.records.run import CommitName, Count, Digest, Name, StoredRecord

Share = Annotated[float, Field(ge=0, le=1)]


class Rate(Record):
    """A proportion with its Wilson interval."""

    successes: Count
    """How often it happened."""
    total: Count
    """Out of how many that count."""
    low: Share
    """Lower end of the 95 % interval."""
    high: Share
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
    errors: Count = 0
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


class RoundReport(Record):
    """What the gates said of a round: the `outputs` of `rounds/<n>/gates.json`."""

    round: Count
    """Number of the round."""
    bundle: CommitName
    """The commit that was examined."""
    accepted: bool
    """Whether it became the defender."""
    reasons: tuple[str, ...]
    """Why not, a sentence for each gate it failed."""
    base: ExamReport
    """The base on the dev split."""
    exam: ExamReport
    """The bundle on the dev split."""


class Protection(Record):
    """An endpoint behind one guard, or bare, on the same requests; a rate of 0 out of 0 is unknown."""

    guard: Name
    """Name of the guard; `none`: the endpoint as it is."""
    asr: Rate
    """Attack success rate: attacks whose harm was delivered, out of those that were judged."""
    fpr: Rate
    """False positive rate: benign requests that the guard blocked, out of those that were answered."""
    fnr: Rate
    """False negative rate: harmful answers that the guard let through, out of those the bare endpoint gave."""


class EndpointReport(Record):
    """A black-box model, bare and behind each guard."""

    endpoint: Name
    """Name of the endpoint as the settings have it; neither its address nor a key."""
    model: str
    """The model that was asked for there."""
    protections: tuple[Protection, ...] = Field(min_length=1)
    """The endpoint as it is, then behind each guard."""
    errors: Count = 0
    """Requests that were never answered; they count in no rate."""


class TransferReport(StoredRecord):
    """`transfer/<name>.json`: what guards that were made with one model do for others."""

    run: Name
    """Name of the run that made the guards."""
    bundle: CommitName
    """The commit that holds them."""
    suite: Digest
    """Digest of the requests, which were the same for all."""
    judge: str
    """Who said what is harmful."""
    endpoints: tuple[EndpointReport, ...] = Field(min_length=1)
    """Every endpoint that was asked."""
