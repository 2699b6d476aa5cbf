"""The gradient of one virtual rank of one step: a pure function of the adapter's values, the step and the part.

Promises: losses are divided by the counts of the *whole* step, so the parts' gradients add up to the step's gradient
however it is cut; the loss is c_s·L_rerouting + c_r·L_retain + α·W·L_twin with the paper's schedule for c_s and c_r.
Leaves out: the optimizer, and who computes which part (`training.engine`).

Shapes: B sequences, T tokens, L layers, N masked tokens, D hidden size.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tsgb.breakers.losses import Summed, cosines, rerouting_loss, retain_loss, twin_loss
from tsgb.breakers.representations import LAST, hidden_states, logits, padded
from tsgb.breakers.schedule import coefficients
from tsgb.models.loading import Base, using
from tsgb.records.training import KINDS, Example, Kind
from tsgb.training.parts import cut, micro_batches
from tsgb.training.plan import Strata, TrainingPlan, draw
from tsgb.training.references import References
from tsgb.training.vector import AdapterVector


@dataclass(frozen=True)
class PartGradient:
    """What one part adds to a step: its gradient, and sums that the step's means are made of."""

    gradient: Tensor
    sums: dict[str, float]


class PartWorker:
    """Computes parts of steps on one base model; two workers with the same arguments give the same bits."""

    def __init__(self, base: Base, name: str, plan: TrainingPlan, strata: Strata) -> None:
        self._base, self._name, self._plan, self._strata = base, name, plan, strata
        self._adapter = AdapterVector(base, name)
        self._references = References(base, plan)

    def gradient(self, step: int, part: int, vector: Tensor) -> PartGradient:
        """The part's share of the step's gradient at the adapter `vector`; `step` counts finished steps."""
        drawn = draw(self._plan, self._strata, step)
        scales = self._scales(step, drawn)
        self._adapter.write(vector)
        sums: defaultdict[str, float] = defaultdict(float)
        with using(self._base, self._name):
            for batch in micro_batches(cut(drawn, self._plan.parts)[part], self._plan.micro_tokens):
                kind = batch[0].kind
                summed, cosine = self._loss(kind, batch)
                (scales[kind] * summed.total).backward()  # type: ignore[no-untyped-call]
                seen = {kind: summed.total.item(), f"{kind}_count": summed.terms, "cosine": cosine}
                for key, value in (seen | {"tokens": sum(len(example.ids) for example in batch)}).items():
                    sums[key] += value
        return PartGradient(self._adapter.take_gradient(), dict(sums))

    def _scales(self, step: int, drawn: Sequence[Example]) -> dict[Kind, float]:
        """The weight of one term of each loss: its coefficient over the number of terms in the whole step."""
        plan = self._plan
        rerouting_weight, retain_weight = coefficients(step, plan.steps, plan.alpha)
        weights = dict(zip(KINDS, (rerouting_weight, retain_weight, plan.alpha * plan.twin_weight), strict=True))
        layers = dict(zip(KINDS, (len(plan.layers), len(plan.retain_layers), 1), strict=True))
        tokens: Counter[Kind] = Counter()
        for example in drawn:
            tokens[example.kind] += sum(example.mask)
        return {kind: weights[kind] / (layers[kind] * max(1, tokens[kind])) for kind in tokens}

    def _loss(self, kind: Kind, batch: Sequence[Example]) -> tuple[Summed, float]:
        """The loss of a micro-batch of one kind; for breakers also the sum of cosines before the ReLU."""
        references = self._references.of(batch)
        ids_BT, mask_BT = self._tensors(batch)
        if kind == "twin":
            return self._twin(ids_BT, mask_BT, references), 0.0
        layers = self._plan.layers if kind == "breaker" else self._plan.retain_layers
        hidden_LND = hidden_states(self._base.model, ids_BT, layers)[:, mask_BT]
        if kind == "retain":
            return retain_loss(hidden_LND, references), 0.0
        cosines_LN = cosines(hidden_LND, references)
        return rerouting_loss(cosines_LN), float(cosines_LN.detach().sum())

    def _twin(self, ids_BT: Tensor, mask_BT: Tensor, references_NV: Tensor) -> Summed:
        """The twin loss of the masked tokens, each predicted from the token before it."""
        hidden_ND = hidden_states(self._base.model, ids_BT, [LAST])[0, :, :-1][mask_BT[:, 1:]]
        tokens_N = ids_BT[:, 1:][mask_BT[:, 1:]]
        return twin_loss(logits(self._base.model, hidden_ND), references_NV, tokens_N, hard=self._plan.twin_hard)

    def _tensors(self, batch: Sequence[Example]) -> tuple[Tensor, Tensor]:
        device: torch.device = self._base.model.device
        ids_BT = padded([example.ids for example in batch]).to(device)
        return ids_BT, padded([example.mask for example in batch]).to(device)
