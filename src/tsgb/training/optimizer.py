"""AdamW on an adapter's flat vector: clipping, the step itself, and a state that continues to the last bit.

Weight decay is 0, as in the reference code of circuit breakers. The unfused implementation is used: the fused one may
round differently when the vector is cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tsgb.errors import ModelError
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
        """Clip the gradient, take a step, return the norm before clipping; raises `ModelError` if it is not finite.

        Without a learning rate the one last set holds.
        """
        group = self._adamw.param_groups[0]
        rate = group["lr"] if learning_rate is None else learning_rate
        self.vector.grad = gradient
        norm = float(nn.utils.clip_grad_norm_([self.vector], self._clip))
        require_finite(norm, self.steps, rate)
        group["lr"] = rate
        self._adamw.step()
        self.steps += 1
        self.adapter.write(self.vector.detach())
        return norm

    def state(self) -> OptimizerState:
        """A copy of everything the next step depends on."""
        zeros = torch.zeros_like(self.vector)
        moments = self._adamw.state.get(self.vector, {"exp_avg": zeros, "exp_avg_sq": zeros, "step": 0})
        return OptimizerState(
            steps=self.steps,
            adapter=self.adapter.named(self.vector.detach()),
            exp_avg=self.adapter.named(moments["exp_avg"]),
            exp_avg_sq=self.adapter.named(moments["exp_avg_sq"]),
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


def require_finite(norm: float, step: int, learning_rate: float) -> None:
    """Raise `ModelError` for a gradient whose norm is no number, before it hurts the adapter."""
    if not torch.isfinite(torch.tensor(norm)):
        raise ModelError(
            f"The gradient of step {step} is {norm}: lower the learning rate, now {learning_rate:.2g}, "
            "and go on from the last checkpoint."
        )
