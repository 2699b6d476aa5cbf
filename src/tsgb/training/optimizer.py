"""AdamW on an adapter's flat vector: clipping, the step itself, and a state that continues to the last bit.

Weight decay is 0, as in the reference code of circuit breakers. The unfused implementation is used: the fused one may
round differently when the vector is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor, nn

from tsgb.errors import NotFinite
from tsgb.models.loading import Base
from tsgb.training.vector import AdapterVector

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class OptimizerState:
    """Everything that the next step depends on, by parameter name: the same for any way of sharing the work."""

    steps: int
    """Finished steps: the schedules and the order of examples are functions of this one integer."""
    adapter: Tensors
    """The adapter in fp32."""
    exp_avg: Tensors
    """AdamW's first moment."""
    exp_avg_sq: Tensors
    """AdamW's second moment."""
    adam_steps: int
    """Steps by which AdamW corrects the bias of its moments."""
    learning_rate: float
    """Learning rate of the one parameter group as last set."""
    seed: int
    """Seed of the random numbers that a step draws (`training.rng`)."""


class Room:
    """Memory on the host for one state, used again and again."""

    def __init__(self) -> None:
        self._vectors: dict[str, Tensor] = {}

    def keep(self, what: str, vector: Tensor) -> Tensor:
        """A copy of a vector, in the place of the one kept before it under that name."""
        if what not in self._vectors:
            self._vectors[what] = torch.empty_like(vector)
        return self._vectors[what].copy_(vector)


class AdapterOptimizer:
    """Owns the fp32 values of one adapter; the model's copy is written after every step."""

    def __init__(
        self,
        base: Base,
        name: str,
        *,
        betas: tuple[float, float],
        clip: float,
        weight_decay: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.adapter = AdapterVector(base, name)
        self.vector = nn.Parameter(self.adapter.read())
        self._clip = clip
        self._adamw = adamw([self.vector], betas)
        self.steps, self.seed = 0, seed

    def step(self, gradient: Tensor, learning_rate: float | None = None) -> float:
        """Clip the gradient, take a step, return the norm before clipping; raises `NotFinite` if that is no number.

        Without a learning rate the one last set holds.
        """
        group = self._adamw.param_groups[0]
        rate = group["lr"] if learning_rate is None else learning_rate
        self.vector.grad = gradient
        norm = float(nn.utils.clip_grad_norm_([self.vector], self._clip))
        require_finite(norm, "gradient", self.steps, rate)
        group["lr"] = rate
        self._adamw.step()
        require_finite(float(self.vector.detach().sum()), "adapter", self.steps, rate)
        self.steps += 1
        self.adapter.write(self.vector.detach())
        return norm

    def state(self, room: Room | None = None) -> OptimizerState:
        """A copy of everything the next step depends on; in `room` it lasts until the next copy there."""
        room = room or Room()
        zeros = torch.zeros_like(self.vector)
        moments = self._adamw.state.get(self.vector, {"exp_avg": zeros, "exp_avg_sq": zeros, "step": 0})
        return OptimizerState(
            steps=self.steps,
            adapter=self.adapter.named(room.keep("adapter", self.vector.detach())),
            exp_avg=self.adapter.named(room.keep("exp_avg", moments["exp_avg"])),
            exp_avg_sq=self.adapter.named(room.keep("exp_avg_sq", moments["exp_avg_sq"])),
            adam_steps=int(moments["step"]),
            learning_rate=self._adamw.param_groups[0]["lr"],
            seed=self.seed,
        )

    def load(self, state: OptimizerState) -> None:
        """Continue from a state as if there had been no interruption."""
        with torch.no_grad():
            self.vector.copy_(self.adapter.flat(state.adapter))
        self._adamw.state[self.vector] = {
            "step": torch.tensor(float(state.adam_steps)),
            "exp_avg": self.adapter.flat(state.exp_avg),
            "exp_avg_sq": self.adapter.flat(state.exp_avg_sq),
        }
        self._adamw.param_groups[0]["lr"] = state.learning_rate
        self.steps, self.seed = state.steps, state.seed
        self.adapter.write(self.vector.detach())


def adamw(parameters: list[nn.Parameter], betas: tuple[float, float]) -> torch.optim.AdamW:
    """AdamW whose bits do not depend on how its parameters are cut: neither fused nor over lists of tensors."""
    return torch.optim.AdamW(parameters, betas=betas, weight_decay=0.0, foreach=False, fused=False)


def require_finite(value: float, what: str, step: int, learning_rate: float) -> None:
    """Raise `NotFinite` when what stands for a loss, a gradient or an adapter is no number."""
    if not isfinite(value):
        raise NotFinite(
            f"The {what} of step {step} is {value}: lower the learning rate, now {learning_rate:.2g}, "
            "and go on from the last checkpoint."
        )
