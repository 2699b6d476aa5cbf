"""Training the defender's adapter by circuit breakers: step by step, resumable at every step.

    with Defender(base, examples, plan) as defender:
        for report in train(defender): ...

Promises: from a saved state the training goes on to the same bits, whatever number of processes works on it, and knows
what every step before has seen.
Leaves out: storage; a snapshot may be written to a folder at any step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import Self

from tsgb.breakers.schedule import learning_rate
from tsgb.models.loading import Base
from tsgb.records.training import KINDS, Example
from tsgb.training.engine import Engine, fresh_adapter
from tsgb.training.optimizer import AdapterOptimizer, OptimizerState, Room, require_finite
from tsgb.training.plan import TrainingPlan, by_stratum, digest
from tsgb.training.reports import load_reports
from tsgb.training.snapshot import Snapshot, Stillness
from tsgb.training.state import load_state, require_rate
from tsgb.training.step import PartGradient
from tsgb.training.terms import coefficients, needs_reference


@dataclass(frozen=True)
class StepReport:
    """What one optimizer step saw, before it moved the adapter."""

    step: int
    """Finished steps, this one included."""
    total: int
    """Steps of the whole training."""
    rerouting: float
    """Mean rerouting loss over rerouted tokens and layers; by default ReLU(cos)."""
    retain: float
    """Mean retain loss over retained tokens and layers; by default the distance from the frozen model."""
    twin: float
    """Mean twin loss over continuation tokens; by default in nats."""
    cosine: float | None
    """Mean cosine with the frozen model over rerouted tokens and layers; None where no loss asks for that model."""
    gradient_norm: float
    """Norm of the gradient before clipping."""
    tokens: int
    """Tokens that the hardened model read."""
    learning_rate: float
    """Learning rate of this step."""
    rerouting_weight: float
    """Weight of the rerouting loss; by default the paper's α(1 − t/2T)."""
    retain_weight: float
    """Weight of the retain loss; by default the paper's αt/2T."""
    boundary: float = 0.0
    """Mean boundary loss over the tokens of borderline requests."""
    warning: str = ""
    """What a person should look at, if anything."""


class Defender:
    """A fresh adapter on a frozen base, trained step by step; close it (or use `with`) to end its helper processes."""

    def __init__(
        self, base: Base, examples: Sequence[Example], plan: TrainingPlan, *, name: str = "guard", processes: int = 1
    ) -> None:
        strata = by_stratum(examples)
        fresh_adapter(base, name, plan)
        self.plan, self.name = plan, name
        self.digest = digest(plan, strata, base.digest)
        self.reports: list[StepReport] = []
        self.still = Stillness()
        self._room = Room()
        self._optimizer = AdapterOptimizer(base, name, betas=plan.betas, clip=plan.clip)
        self._engine = Engine(base, name, plan, strata, processes=processes)

    @property
    def steps(self) -> int:
        """Finished steps."""
        return self._optimizer.steps

    def step(self) -> StepReport:
        """Take one optimizer step and say what it saw; raises `NotFinite` if a loss or the gradient is no number."""
        step, plan = self.steps, self.plan
        parts = self._engine.gradients(step, self._optimizer.vector.detach())
        rate = learning_rate(step, plan.steps, plan.learning_rate)
        gradient = parts[0].gradient
        for part in parts[1:]:
            gradient = gradient + part.gradient
        for kind in KINDS:
            require_finite(sum(part.sums.get(kind, 0.0) for part in parts), f"{kind} loss", step, rate)
        with self.still.changing():
            norm = self._optimizer.step(gradient, rate)
            report = _report(plan, step, parts, norm, rate)
            self.reports.append(_warned(plan, report, self.reports[0] if self.reports else report))
        return self.reports[-1]

    def state(self) -> OptimizerState:
        """A copy of everything that the rest of the training depends on."""
        return self._optimizer.state()

    def load(self, state: OptimizerState) -> None:
        """Go on from a state of this training, which does not hold the reports of its steps.

        Raises `InputError` when its learning rate is not the one that its last step had.
        """
        if state.steps:
            require_rate(state, learning_rate(state.steps - 1, self.plan.steps, self.plan.learning_rate))
        self._optimizer.load(state)

    def snapshot(self) -> Snapshot:
        """The training as it is now; the next step waits until it has been copied."""
        copy = partial(self._optimizer.state, self._room)
        return Snapshot(self.still, copy, self.reports, name=self.name, digest=self.digest)

    def save(self, folder: Path) -> None:
        """Write reports and state to a folder, as `training.reports` and `training.state` lay them out."""
        self.snapshot().save(folder)

    def restore(self, folder: Path) -> None:
        """Go on from a saved state; raises `InputError` when it belongs to another plan, base or example set."""
        state = load_state(folder, name=self.name, digest=self.digest)
        self.reports = load_reports(StepReport, folder, name=self.name, steps=state.steps)
        self.load(state)

    def close(self) -> None:
        """End the helper processes."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def train(defender: Defender) -> Iterator[StepReport]:
    """The steps that are left."""
    while defender.steps < defender.plan.steps:
        yield defender.step()


def rerouting_started(plan: TrainingPlan, report: StepReport, first: StepReport) -> bool:
    """Whether rerouting has left where it began: for cosines 1, the stationary point at which B = 0 rests."""
    if plan.rerouting_loss == "cosine" and report.cosine is not None:
        return report.cosine <= 0.9
    return report.rerouting <= 0.9 * first.rerouting


def _report(plan: TrainingPlan, step: int, parts: Sequence[PartGradient], norm: float, rate: float) -> StepReport:
    sums: defaultdict[str, float] = defaultdict(float)
    for key, value in (item for part in parts for item in part.sums.items()):
        sums[key] += value
    means = {kind: sums[kind] / max(1, sums[f"{kind}_count"]) for kind in KINDS}
    cosine = sums["cosine"] / max(1, sums["breaker_count"]) if needs_reference(plan, "breaker") else None
    rerouting_weight, retain_weight = coefficients(plan, step)
    return StepReport(
        step=step + 1,
        total=plan.steps,
        rerouting=means["breaker"],
        retain=means["retain"],
        twin=means["twin"],
        cosine=cosine,
        gradient_norm=norm,
        tokens=int(sums["tokens"]),
        learning_rate=rate,
        rerouting_weight=rerouting_weight,
        retain_weight=retain_weight,
        boundary=means["boundary"],
    )


def _warned(plan: TrainingPlan, report: StepReport, first: StepReport) -> StepReport:
    """The report, with a sentence if so late rerouting has not started."""
    late = report.step == ceil(0.4 * plan.steps) and plan.breaker_batch > 0
    if not late or rerouting_started(plan, report, first):
        return report
    seen = f"its loss is still {report.rerouting:.3f}, after {first.rerouting:.3f} in the first"
    if plan.rerouting_loss == "cosine":
        seen = f"the mean cosine is still {report.cosine:.3f}"
    return replace(
        report,
        warning=f"Rerouting has not started: after 40 % of the steps {seen}; "
        f"raise init_std (now {plan.init_std}) or learning_rate (now {plan.learning_rate}).",
    )
