"""What the frozen model makes of an example: it never changes, so it is computed once and kept.

Promises: each reference is computed by itself, unpadded, so its bits do not depend on which step first asked for it,
nor on whether it was still kept; at most `limit` bytes are kept, and what does not fit is computed again each time. A
plan that keeps none has them computed with the micro-batch that asks: they are then a function of that step.

Shapes: L layers, N masked tokens, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tsgb.breakers.representations import logits
from tsgb.models.loading import Base, using
from tsgb.records.training import Example, Kind
from tsgb.training.forward import Forward
from tsgb.training.plan import TrainingPlan
from tsgb.training.terms import needs_reference, predicts

GIBIBYTE = 2**30


class References:
    """Frozen hidden states (layers, tokens, hidden); for twins held by KL log-probabilities (tokens, vocabulary).

    A boundary's tokens all have one reference: the mean of the frozen model's unit states over the answered request.
    """

    def __init__(self, base: Base, plan: TrainingPlan, *, limit: int = 2 * GIBIBYTE) -> None:
        self._base, self._plan, self._room = base, plan, limit
        self._kept: dict[str, Tensor] = {}

    def of(self, examples: Sequence[Example]) -> dict[Kind, Tensor]:
        """The references of each kind that needs any, side by side along its examples' tokens."""
        needing = [example for example in examples if needs_reference(self._plan, example.kind)]
        alone = [example for example in needing if self._plan.keep_references or example.kind == "boundary"]
        together = [example for example in needing if example not in alone]
        kept = {kind: self._side_by_side(kind, alone) for kind in {example.kind for example in alone}}
        return kept | (self._compute(together) if together else {})

    def _side_by_side(self, kind: Kind, examples: Sequence[Example]) -> Tensor:
        references = [self._one(example) for example in examples if example.kind == kind]
        return torch.cat(references, dim=0 if references[0].dim() == 2 else 1)

    def _one(self, example: Example) -> Tensor:
        if example.id not in self._kept:
            reference = self._compute([example])[example.kind]
            if reference.nbytes > self._room:
                return reference
            self._room -= reference.nbytes
            self._kept[example.id] = reference
        return self._kept[example.id]

    @torch.no_grad()
    def _compute(self, examples: Sequence[Example]) -> dict[Kind, Tensor]:
        """What one pass of the frozen model over all of them gives; a boundary comes alone."""
        forward = Forward(self._base.model, self._plan, examples, reference=True)
        with using(self._base, None), forward.on():
            read = {kind: each.hidden_LND for kind, each in forward.read().items()}
            if "twin" in read and predicts(self._plan, "twin"):
                read["twin"] = torch.log_softmax(logits(self._base.model, read["twin"][0]).float(), dim=-1)
        if "boundary" in read:
            centres_LD = F.normalize(read["boundary"].float(), dim=-1).mean(dim=1)
            read["boundary"] = centres_LD[:, None].expand(-1, sum(examples[0].mask), -1)
        return read
