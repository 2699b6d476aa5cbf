"""An adapter's optimizer spread over many processes by DeepSpeed ZeRO, with one state for all stages and world sizes.

Promises: the state holds nothing of how it was spread, and goes on at any stage and world size. In the exact mode a
step takes the whole gradient, the same on every rank, and has the bits that `AdapterOptimizer` gives: the engine's own
backward pass and reduction run, but what they leave is replaced by that gradient, clipped here, before the engine
steps. In the plain mode each rank brings the sum of its own parts, and DeepSpeed adds and clips in its own order: the
bits then depend on world size and stage.
Leaves out: the frozen base, which every rank holds whole at every stage: its forward passes stop at the highest layer a
loss asks for and differ in number from rank to rank, while stage 3 would gather weights in step; offloading; NVMe.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tsgb.assets import asset
from tsgb.errors import SettingsError
from tsgb.models.loading import Base
from tsgb.training.optimizer import AdapterOptimizer, OptimizerState, Room, adamw, require_finite
from tsgb.training.world import World
from tsgb.training.zero_door import deepspeed, init_communication
from tsgb.training.zero_state import pieces

Stage = Literal[0, 1, 2, 3]


@dataclass(frozen=True)
class Zero:
    """How an adapter's training is spread."""

    stage: Stage = 1
    """What is cut into pieces: 1 optimizer states, 2 gradients too, 3 the adapter too; 0 nothing."""
    exact: bool = True
    """The same bits for every world size and stage."""
    bf16: bool = False
    """Compute with an adapter rounded to bfloat16, and keep its values in fp32."""


class ZeroOptimizer(AdapterOptimizer):
    """`AdapterOptimizer` on a DeepSpeed engine; every rank of the world has to make the same calls."""

    def __init__(
        self, base: Base, name: str, world: World, zero: Zero, *, betas: tuple[float, float], clip: float, seed: int = 0
    ) -> None:
        super().__init__(base, name, betas=betas, clip=clip, seed=seed)
        self._world, self._zero = world, zero
        fresh = super().state()
        init_communication()
        carrier = Carrier([values.clone() for values in fresh.adapter.values()])
        self._shapes = [values.shape for values in fresh.adapter.values()]
        self._engine = deepspeed().initialize(
            model=carrier,
            optimizer=adamw(list(carrier.parameters()), betas),
            config=engine_config(zero, clip),
        )[0]
        self._pieces = pieces(zero.stage, self._engine, world)
        self.load(fresh)

    def step(self, gradient: Tensor, learning_rate: float | None = None) -> float:
        """Take a step, return the gradient's norm before clipping; raises `NotFinite` if that is no number.

        `gradient` is that of the whole step in the exact mode, and of this rank's parts in the plain one.
        """
        rate = self._pieces.learning_rate if learning_rate is None else learning_rate
        norm = self._exact(gradient, rate) if self._zero.exact else self._plain(gradient, rate)
        require_finite(norm, "gradient", self.steps, rate)
        self.steps += 1
        self._refresh()
        return norm

    def state(self, room: Room | None = None) -> OptimizerState:
        """A copy of everything the next step depends on, whole on every rank; gathered anew, so in no room."""
        return OptimizerState(
            steps=self.steps,
            adapter=self._named(self._pieces.masters()),
            exp_avg=self._named(self._pieces.moments("exp_avg")),
            exp_avg_sq=self._named(self._pieces.moments("exp_avg_sq")),
            adam_steps=self._pieces.adam_steps,
            learning_rate=self._pieces.learning_rate,
            seed=self.seed,
        )

    def load(self, state: OptimizerState) -> None:
        """Continue from a state of any stage and world size, as if there had been no interruption."""
        for tensors in (state.adapter, state.exp_avg, state.exp_avg_sq):
            self.adapter.flat(tensors)  # refuses those of another adapter
        self._pieces.make_states(state.adam_steps)
        self._pieces.write_masters(self._listed(state.adapter))
        self._pieces.write_moments("exp_avg", self._listed(state.exp_avg))
        self._pieces.write_moments("exp_avg_sq", self._listed(state.exp_avg_sq))
        self._pieces.write_working(self._listed(state.adapter))
        self._pieces.learning_rate = state.learning_rate
        self.steps, self.seed = state.steps, state.seed
        self._refresh()

    def _exact(self, gradient: Tensor, rate: float) -> float:
        """Clip the step's gradient as `AdapterOptimizer` does, and have it stepped on as it is."""
        self.vector.grad = gradient
        norm = float(nn.utils.clip_grad_norm_([self.vector], self._clip))
        require_finite(norm, "gradient", self.steps, rate)
        whole = self._cut(gradient)
        self._engine.backward(self._engine([torch.zeros_like(each) for each in whole]))
        self._pieces.write_gradients(whole)
        self._pieces.learning_rate = rate
        self._engine.step()
        return norm

    def _plain(self, gradient: Tensor, rate: float) -> float:
        """DeepSpeed's own sum and clipping; it takes the mean over ranks, so each brings its share times the size."""
        self._engine.backward(self._engine(self._cut(gradient * self._world.size)))
        self._pieces.learning_rate = rate
        self._engine.step()
        return float(self._engine.get_global_grad_norm() or 0.0)

    def _refresh(self) -> None:
        """Give the model what the engine computes with."""
        with torch.no_grad():
            self.vector.copy_(torch.cat([values.reshape(-1) for values in self._pieces.working()]))
        self.adapter.write(self.vector.detach())

    def _cut(self, vector: Tensor) -> list[Tensor]:
        sizes = [shape.numel() for shape in self._shapes]
        return [piece.view(shape) for piece, shape in zip(torch.split(vector, sizes), self._shapes, strict=True)]

    def _named(self, values: Sequence[Tensor]) -> dict[str, Tensor]:
        return self.adapter.named(torch.cat([each.reshape(-1) for each in values]))

    def _listed(self, tensors: dict[str, Tensor]) -> list[Tensor]:
        return self._cut(self.adapter.flat(tensors))


class Carrier(nn.Module):
    """An adapter's parameters and nothing else: a loss whose gradient is whatever was handed in."""

    def __init__(self, values: Sequence[Tensor]) -> None:
        super().__init__()
        for number, value in enumerate(values):
            self.register_parameter(f"p{number}", nn.Parameter(value))

    def forward(self, gradients: Sequence[Tensor]) -> Tensor:
        """The sum of all parameters times their gradients."""
        pairs = zip(self.parameters(), gradients, strict=True)
        return torch.stack([(parameter * gradient.to(parameter)).sum() for parameter, gradient in pairs]).sum()


def engine_config(zero: Zero, clip: float) -> dict[str, Any]:
    """`cluster/zero{stage}.json` with its "auto" filled in; raises `SettingsError` for bf16 without ZeRO."""
    if zero.bf16 and not zero.stage:
        raise SettingsError("ZeRO stage 0 keeps no fp32 values beside bfloat16 ones; choose stage 1, 2 or 3, or fp32.")
    config: dict[str, Any] = json.loads(asset(f"cluster/zero{zero.stage}.json").read_text())
    config["bf16"]["enabled"] = zero.bf16
    config["gradient_clipping"] = 0.0 if zero.exact else clip
    return config
