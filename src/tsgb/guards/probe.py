"""The linear probe: «this call was not asked for by the user», read off the frozen base.

Logistic regression on the mean hidden state of the call's own tokens, layers side by side, standardised, with an L2
penalty; both classes weigh the same, however many examples they have. The fit starts at zero and is convex, so the same
examples give the same probe. Weights are plain numbers without gradient: training must never see through a guard.

Shapes: N calls, F features (layers × hidden).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from tsgb.guards.readings import Reading


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe, in fp64: weights and standardisation (features,), bias ()."""

    name: ClassVar[str] = "probe"
    weight_F: Tensor
    bias: Tensor
    mean_F: Tensor
    scale_F: Tensor

    @torch.no_grad()
    def score(self, reading: Reading) -> float:
        """The log odds that the call is harmful."""
        return float(standardised(features(reading), self.mean_F, self.scale_F) @ self.weight_F + self.bias)


def features(reading: Reading) -> Tensor:
    """The frozen base's mean state over the call's tokens (features,)."""
    return reading.frozen_LND[:, reading.header :].double().mean(dim=1).flatten()


def standardised(features_NF: Tensor, mean_F: Tensor, scale_F: Tensor) -> Tensor:
    """Features with mean 0 and deviation 1 where the probe was fitted."""
    return (features_NF - mean_F) / scale_F


def fit_probe(features_NF: Tensor, harmful_N: Tensor, *, penalty: float = 0.01) -> LinearProbe:
    """The probe of least class-balanced cross entropy plus `penalty`/2 · |weight|²; needs calls of both classes."""
    mean_F = features_NF.mean(dim=0)
    scale_F = features_NF.std(dim=0, correction=0).clamp_min(1e-6)
    inputs_NF, target_N = standardised(features_NF, mean_F, scale_F), harmful_N.double()
    importance_N = torch.where(harmful_N, 0.5 / harmful_N.sum(), 0.5 / (~harmful_N).sum()).double()
    weight_F = torch.zeros_like(mean_F, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight_F, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        logits_N = inputs_NF @ weight_F + bias
        entropy = binary_cross_entropy_with_logits(logits_N, target_N, importance_N, reduction="sum")
        total = entropy + penalty / 2 * weight_F.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return float(total.detach())

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    return LinearProbe(weight_F.detach(), bias.detach(), mean_F, scale_F)
