"""What ranks of a test run; imported by their processes, so it stands in a file of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from tsgb.training.exchange import gather_rows, sum_in_order
from tsgb.training.optimizer import OptimizerState
from tsgb.training.rehearsal import Job, Leg, train_leg
from tsgb.training.virtual import ElasticDefender, WorldEngine
from tsgb.training.world import World
from tsgb.training.zero import ZeroOptimizer
from tsgb.training.zero_state import Flat, Partitioned, Pieces


def add_up(world: World, parts: int, length: int, folder: Path) -> None:
    """Every rank stores what it makes of all parts."""
    mine = {part: part_vector(part, length) for part in world.parts(parts)}
    rows = gather_rows({part: vector[:2].double() for part, vector in mine.items()}, parts, world, 2)
    save_file({"sum": sum_in_order(mine, parts, world, length), "rows": rows}, folder / f"{world.rank}")


def part_vector(part: int, length: int) -> torch.Tensor:
    """Numbers whose sum depends on the order in which they are added."""
    return torch.randn(length, generator=torch.Generator().manual_seed(part)) * 10.0**part


def train_without(world: World, job: Job, leg: Leg, omitted: str) -> None:
    """A leg in which the third step keeps the learning rate of the second, and one thing is not restored."""
    step = ZeroOptimizer.step
    ZeroOptimizer.step = lambda self, gradient, rate: step(self, gradient, None if self.steps == 2 else rate)  # type: ignore[method-assign]
    OMISSIONS[omitted]()
    train_leg(world, job, leg)


def _keep_learning_rate() -> None:
    load = ZeroOptimizer.load

    def without(self: ZeroOptimizer, state: OptimizerState) -> None:
        before = self._pieces.learning_rate
        load(self, state)
        self._pieces.learning_rate = before

    ZeroOptimizer.load = without  # type: ignore[method-assign]


def _keep_working_copy() -> None:
    for kind in (Flat, Partitioned):
        kind.write_working = lambda self, values: None  # type: ignore[method-assign, assignment]


def _keep_adam_step() -> None:
    make = Pieces.make_states
    Pieces.make_states = lambda self, adam_steps: make(self, 0)  # type: ignore[method-assign]


def _keep_seed() -> None:
    def without(self: ElasticDefender, state: OptimizerState) -> None:
        super(ElasticDefender, self).load(state)
        assert isinstance(self._engine, WorldEngine)

    ElasticDefender.load = without  # type: ignore[method-assign]


def _keep_moments() -> None:
    for kind in (Flat, Partitioned):
        kind.write_moments = lambda self, moment, values: None  # type: ignore[method-assign, assignment]


OMISSIONS: dict[str, Callable[[], None]] = {
    "nothing": lambda: None,
    "learning rate": _keep_learning_rate,
    "working copy": _keep_working_copy,
    "adam step": _keep_adam_step,
    "seed": _keep_seed,
    "moments": _keep_moments,
}
