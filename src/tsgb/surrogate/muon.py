"""Muon in fp32: momentum orthogonalised by Newton-Schulz steps, batched over weights of one shape.

Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks" (quintic iteration, its
coefficients). torch.optim.Muon casts to bfloat16, which small models do not need and CPUs do slowly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon:
    """Orthogonalised momentum for 2-D weights; `learning_rate` is set by the caller before each step."""

    def __init__(self, weights: Iterable[Tensor], *, momentum: float = 0.95, weight_decay: float = 0.1) -> None:
        self.momentum, self.weight_decay, self.learning_rate = momentum, weight_decay, 0.0
        groups: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for weight in weights:
            groups[weight.shape].append(weight)
        self.groups = [(group, torch.zeros(len(group), *shape)) for shape, group in groups.items()]

    @torch.no_grad()
    def step(self) -> None:
        """Update every weight from its gradient."""
        for weights, velocity in self.groups:
            gradient = torch.stack([weight.grad for weight in weights if weight.grad is not None])
            velocity.lerp_(gradient, 1 - self.momentum)
            update = orthogonalise(gradient.lerp(velocity, self.momentum))
            scale = max(1.0, update.shape[-2] / update.shape[-1]) ** 0.5
            for weight, direction in zip(weights, update, strict=True):
                weight.mul_(1 - self.learning_rate * self.weight_decay).sub_(
                    direction, alpha=self.learning_rate * scale
                )


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices, about; shape (batch, rows, columns)."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.mT if tall else x
    return result
