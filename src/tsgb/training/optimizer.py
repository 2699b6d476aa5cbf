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
    """Adapter and AdamW's moments by parameter name, after `steps` finished steps."""

    steps: int
    adapter: Tensors
    exp_avg: Tensors
    exp_avg_sq: Tensors


class AdapterOptimizer:
    """Owns the fp32 values of one adapter; the model's copy is written after every step."""

    def __init__(self, base: Base, name: str, *, betas: tuple[float, float], clip: float) -> None:
        self.adapter = AdapterVector(base, name)
        self.vector = nn.Parameter(self.adapter.read())
        self._clip = clip
        self._adamw = torch.optim.AdamW([self.vector], betas=betas, weight_decay=0.0, foreach=False, fused=False)
        self.steps = 0

    def step(self, gradient: Tensor, learning_rate: float) -> float:
        """Clip the gradient, take a step, return the norm before clipping; raises `ModelError` if it is not finite."""
        self.vector.grad = gradient
        norm = float(nn.utils.clip_grad_norm_([self.vector], self._clip))
        if not torch.isfinite(torch.tensor(norm)):
            raise ModelError(
                f"The gradient of step {self.steps} is {norm}: lower the learning rate, now {learning_rate:.2g}, "
                "and go on from the last checkpoint."
            )
        self._adamw.param_groups[0]["lr"] = learning_rate
        self._adamw.step()
        self.steps += 1
        self.adapter.write(self.vector.detach())
        return norm

    def state(self) -> OptimizerState:
        """A copy of everything the next step depends on."""
        zeros = torch.zeros_like(self.vector)
        moments = self._adamw.state.get(self.vector, {"exp_avg": zeros, "exp_avg_sq": zeros})
        tensors = (self.vector.detach(), moments["exp_avg"], moments["exp_avg_sq"])
        return OptimizerState(self.steps, *(self.adapter.named(tensor) for tensor in tensors))

    def load(self, state: OptimizerState) -> None:
        """Continue from a state as if there had been no interruption."""
        with torch.no_grad():
            self.vector.copy_(self.adapter.flat(state.adapter))
        self._adamw.state[self.vector] = {
            "step": torch.tensor(float(state.steps)),
            "exp_avg": self.adapter.flat(state.exp_avg),
            "exp_avg_sq": self.adapter.flat(state.exp_avg_sq),
        }
        self.steps = state.steps
        self.adapter.write(self.vector.detach())
