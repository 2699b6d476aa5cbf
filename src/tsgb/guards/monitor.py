"""The representation monitor: a call is suspicious where the hardened model turned away from the frozen one.

Rerouting pushes the states of harmful calls away from where they were and keeps all others in place, so the angle
between the two models *is* the detector: score = 1 − mean cosine over target layers and over header and call tokens.
Nothing is fitted, and the agent that proposed the call may be another model altogether.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from tsgb.guards.readings import Reading


@dataclass(frozen=True)
class RepresentationMonitor:
    """Scores a proposed call by how far rerouting turned its hidden states."""

    name: ClassVar[str] = "monitor"

    def score(self, reading: Reading) -> float:
        """0 where the models agree, up to 2 where they point in opposite directions."""
        cosine_LN = torch.cosine_similarity(reading.frozen_LND, reading.hardened_LND, dim=-1)
        return 1.0 - float(cosine_LN.mean())
