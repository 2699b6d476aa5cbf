"""The defender's training on a world of processes that may change in size and ZeRO stage at every restart.

    def program(world, ...):
        with ElasticDefender(base, examples, plan, world=world, zero=Zero(stage=2)) as defender:
            defender.restore(folder)
            for report in train(defender): ...

Promises: in the exact mode every step has the bits of the one-process `Defender`, whatever the world: a part's gradient
is a function of adapter, step and part, parts are added in their order, and dropout draws by place, not by history.
Leaves out: noticing that the world has changed, which is its supervisor's business.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from tsgb.errors import SettingsError
from tsgb.models.loading import Base
from tsgb.records.training import KINDS, Example
from tsgb.training.defender import Defender
from tsgb.training.engine import Engine
from tsgb.training.exchange import gather_rows, sum_in_order
from tsgb.training.optimizer import OptimizerState
from tsgb.training.plan import Strata, TrainingPlan, by_stratum
from tsgb.training.rng import add_dropout, drawing
from tsgb.training.step import PartGradient
from tsgb.training.world import World
from tsgb.training.zero import Zero, ZeroOptimizer

SUMS = (*KINDS, *(f"{kind}_count" for kind in KINDS), "cosine", "tokens")
"""What a part reports beside its gradient."""


class WorldEngine(Engine):
    """Computes this rank's parts of a step and adds those of all ranks."""

    def __init__(
        self, base: Base, name: str, plan: TrainingPlan, strata: Strata, world: World, *, exact: bool, dropout: float
    ) -> None:
        if dropout and plan.recompute:
            raise SettingsError(
                f"A dropout of {dropout} would draw anew where activations are recomputed; "
                "set it to 0, or breaker.recompute to false."
            )
        super().__init__(base, name, plan, strata)
        self.seed = 0
        self._world, self._exact = world, exact
        self._sites = add_dropout(base, name, dropout)

    def gradients(self, step: int, vector: Tensor) -> list[PartGradient]:
        """One gradient: the whole step's in the exact mode, else that of this rank's parts; the sums are the step's."""
        own = {part: self._part(step, part, vector) for part in self._world.parts(self._parts)}
        rows = {part: _row(result.sums) for part, result in own.items()}
        table = gather_rows(rows, self._parts, self._world, len(SUMS))
        return [PartGradient(self._sum(own, vector), _merged(table))]

    def _part(self, step: int, part: int, vector: Tensor) -> PartGradient:
        with drawing(self._sites, self.seed, step, part):
            return self._worker.gradient(step, part, vector)

    def _sum(self, own: dict[int, PartGradient], vector: Tensor) -> Tensor:
        mine = {part: result.gradient for part, result in own.items()}
        if self._exact:
            return sum_in_order(mine, self._parts, self._world, vector.numel())
        return sum(mine.values(), torch.zeros_like(vector))


class ElasticDefender(Defender):
    """`Defender` on a world; every rank makes the same calls, and rank 0 alone writes files."""

    def __init__(
        self,
        base: Base,
        examples: Sequence[Example],
        plan: TrainingPlan,
        *,
        world: World,
        zero: Zero,
        name: str = "guard",
        dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(base, examples, plan, name=name)
        self._world = world
        spread = WorldEngine(base, name, plan, by_stratum(examples), world, exact=zero.exact, dropout=dropout)
        self._engine: WorldEngine = spread
        self._optimizer = ZeroOptimizer(base, name, world, zero, betas=plan.betas, clip=plan.clip, seed=seed)
        self._engine.seed = seed
        self.digest = f"{self.digest}+dropout={dropout}" if dropout else self.digest

    def load(self, state: OptimizerState) -> None:
        """Go on from a state of this training, of any stage and world size."""
        super().load(state)
        self._engine.seed = state.seed

    def save(self, folder: Path) -> None:
        """Let rank 0 write the state to a folder; every rank has to ask, as the state is gathered from all."""
        if self._world.rank:
            self.state()
        else:
            super().save(folder)


def _row(sums: dict[str, float]) -> Tensor:
    return torch.tensor([sums.get(key, 0.0) for key in SUMS], dtype=torch.float64)


def _merged(table: Tensor) -> dict[str, float]:
    """Sums over parts in their order, as plain floats."""
    merged: defaultdict[str, float] = defaultdict(float)
    for row in table.tolist():
        for key, value in zip(SUMS, row, strict=True):
            merged[key] += value
    return dict(merged)
