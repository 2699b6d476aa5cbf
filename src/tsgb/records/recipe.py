"""The names of what a training can be made of; what each one computes stands in `breakers`.

They are here, below everything, because settings know them on hosts that have no torch.
"""

from __future__ import annotations

from typing import Literal

Mode = Literal["paper", "upstream"]
"""Whose arithmetic: the paper's, or that of the code its authors released."""
ReroutingLoss = Literal["cosine", "rmu", "random", "triplet", "distance"]
RetainLoss = Literal["distance", "kl"]
TwinLoss = Literal["kl", "cross_entropy", "hidden"]
Weighting = Literal["dual", "single_alpha"]
Decay = Literal["linear", "cosine"]
Extent = Literal["deviation", "completion", "sequence", "spans"]
"""Which tokens of a successful attack are rerouted."""

UPSTREAM_PASSES = 300
"""Training passes over which the released code's schedule runs, whatever the training's length."""
