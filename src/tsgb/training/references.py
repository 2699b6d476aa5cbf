"""What the frozen model makes of an example: it never changes, so it is computed once and kept.

Promises: each reference is computed by itself, unpadded, so its bits do not depend on which step first asked for it,
nor on whether it was still kept; at most `limit` bytes are kept, and what does not fit is computed again each time.

Shapes: L layers, N masked tokens, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tsgb.breakers.representations import LAST, hidden_states, logits, padded
from tsgb.models.loading import Base, using
from tsgb.records.training import Example
from tsgb.training.plan import TrainingPlan

GIBIBYTE = 2**30


class References:
    """Frozen hidden states (layers, tokens, hidden); for twins frozen log-probabilities (tokens, vocabulary)."""

    def __init__(self, base: Base, plan: TrainingPlan, *, limit: int = 2 * GIBIBYTE) -> None:
        self._base, self._plan, self._room = base, plan, limit
        self._kept: dict[str, Tensor] = {}

    def of(self, examples: Sequence[Example]) -> Tensor:
        """The references of examples of one kind, side by side along their tokens."""
        return torch.cat([self._one(example) for example in examples], dim=0 if examples[0].kind == "twin" else 1)

    def _one(self, example: Example) -> Tensor:
        if example.id not in self._kept:
            reference = self._compute(example)
            if reference.nbytes > self._room:
                return reference
            self._room -= reference.nbytes
            self._kept[example.id] = reference
        return self._kept[example.id]

    @torch.no_grad()
    def _compute(self, example: Example) -> Tensor:
        device = self._base.model.device
        with using(self._base, None):
            if example.kind == "twin":
                states = hidden_states(self._base.model, padded([example.reference_ids]).to(device), [LAST])
                before = states[0, :, :-1][padded([example.reference_mask])[:, 1:]]
                return torch.log_softmax(logits(self._base.model, before).float(), dim=-1)
            layers = self._plan.layers if example.kind == "breaker" else self._plan.retain_layers
            states = hidden_states(self._base.model, padded([example.ids]).to(device), layers)
            return states[:, padded([example.mask])]
