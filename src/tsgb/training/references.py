"""What the frozen model makes of an example: it never changes, so it is computed once and kept.

Promises: each reference is computed by itself, unpadded, so its bits do not depend on which step first asked for it,
nor on whether it was still kept; at most `limit` bytes are kept, and what does not fit is computed again each time.

Shapes: L layers, N masked tokens, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tsgb.breakers.representations import hidden_states, logits, padded
from tsgb.models.loading import Base, using
from tsgb.records.training import Example
from tsgb.training.plan import TrainingPlan
from tsgb.training.terms import depth, layers

GIBIBYTE = 2**30


class References:
    """Frozen hidden states (layers, tokens, hidden); for twins held by KL log-probabilities (tokens, vocabulary).

    A boundary's tokens all have one reference: the mean of the frozen model's unit states over the answered request.
    """

    def __init__(self, base: Base, plan: TrainingPlan, *, limit: int = 2 * GIBIBYTE) -> None:
        self._base, self._plan, self._room = base, plan, limit
        self._kept: dict[str, Tensor] = {}

    def of(self, examples: Sequence[Example]) -> Tensor:
        """The references of examples of one kind, side by side along their tokens."""
        references = [self._one(example) for example in examples]
        return torch.cat(references, dim=0 if references[0].dim() == 2 else 1)

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
        plan, model, kind = self._plan, self._base.model, example.kind
        beside = kind in ("twin", "boundary")
        ids = example.reference_ids if beside else example.ids
        mask_BT = padded([example.reference_mask if beside else example.mask])
        with using(self._base, None):
            ids_BT = padded([ids]).to(model.device)
            states_LBTD = hidden_states(model, ids_BT, layers(plan, kind), depth=depth(plan, kind))
            if kind == "twin" and plan.twin_loss != "hidden":
                before_ND = states_LBTD[0, :, :-1][mask_BT[:, 1:]]
                return torch.log_softmax(logits(model, before_ND).float(), dim=-1)
        states_LND = states_LBTD[:, mask_BT]
        if kind != "boundary":
            return states_LND
        centres_LD = F.normalize(states_LND.float(), dim=-1).mean(dim=1)
        return centres_LD[:, None].expand(-1, sum(example.mask), -1)
