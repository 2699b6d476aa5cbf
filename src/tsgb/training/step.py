"""The gradient of one virtual rank of one step: a pure function of the adapter's values, the step and the part.

Promises: losses are divided by the counts of the *whole* step, so the parts' gradients add up to the step's gradient
however it is cut; the loss is c_s·L_rerouting + c_r·L_retain + α·W·L_twin with the paper's schedule for c_s and c_r,
unless the plan chooses others (`training.terms`).
Leaves out: the optimizer, and who computes which part (`training.engine`).

Shapes: B sequences, T tokens, L layers, N masked tokens, D hidden size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tsgb.breakers.losses import (
    boundary_loss,
    cosines,
    cross_entropy_loss,
    distance_loss,
    divergence_loss,
    random_directions,
    random_loss,
    rerouting_loss,
    retain_loss,
    rmu_loss,
    triplet_loss,
    twin_loss,
)
from tsgb.breakers.representations import hidden_states, logits, padded
from tsgb.models.loading import Base, using
from tsgb.records.training import KINDS, Example, Kind
from tsgb.training.parts import cut, micro_batches
from tsgb.training.plan import Strata, TrainingPlan, draw
from tsgb.training.references import References
from tsgb.training.terms import Micro, count, depth, layers, micro_steps, needs_reference, weights
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
        size = base.model.config.get_text_config().hidden_size
        self._directions_LD = random_directions(len(plan.layers), size, plan.seed).to(base.model.device)

    def gradient(self, step: int, part: int, vector: Tensor) -> PartGradient:
        """The part's share of the step's gradient at the adapter `vector`; `step` counts finished steps."""
        self._adapter.write(vector)
        sums: defaultdict[str, float] = defaultdict(float)
        with using(self._base, self._name):
            for micro, drawn in enumerate(micro_steps(self._plan, draw(self._plan, self._strata, step))):
                scales = self._scales(step, micro, drawn)
                for batch in micro_batches(cut(drawn, self._plan.parts)[part], self._plan.micro_tokens):
                    for key, value in self._backward(batch, scales).items():
                        sums[key] += value
        return PartGradient(self._adapter.take_gradient(), dict(sums))

    def _scales(self, step: int, micro: int, drawn: Micro) -> dict[Kind, float]:
        """The weight of one term of each loss: its coefficient over the number of terms in the whole step."""
        plan, by_kind = self._plan, {kind: [each for each in drawn if each.kind == kind] for kind in KINDS}
        each = weights(plan, step, micro)
        return {kind: each[kind] / count(plan, kind, members) for kind, members in by_kind.items() if members}

    def _backward(self, batch: Sequence[Example], scales: dict[Kind, float]) -> dict[str, float]:
        """Add the gradient of a micro-batch of one kind to the adapter's; what was seen on the way."""
        kind = batch[0].kind
        total, cosine = self._loss(kind, batch)
        (scales[kind] * total).backward()  # type: ignore[no-untyped-call]
        seen = {kind: total.item(), f"{kind}_count": count(self._plan, kind, batch), "cosine": cosine}
        return seen | {"tokens": sum(len(example.ids) for example in batch)}

    def _loss(self, kind: Kind, batch: Sequence[Example]) -> tuple[Tensor, float]:
        """The summed loss of a micro-batch of one kind; for breakers also the sum of cosines before the ReLU."""
        plan, model = self._plan, self._base.model
        ids_BT, mask_BT = self._tensors(batch)
        references = self._references.of(batch) if needs_reference(plan, kind) else None
        hidden_LBTD = hidden_states(model, ids_BT, layers(plan, kind), depth=depth(plan, kind))
        if kind == "twin" and plan.twin_loss != "hidden":
            scores_NV = logits(model, hidden_LBTD[0, :, :-1][mask_BT[:, 1:]])
            return self._continued(scores_NV, references, ids_BT[:, 1:][mask_BT[:, 1:]]), 0.0
        hidden_LND = hidden_LBTD[:, mask_BT]
        if kind == "breaker":
            return self._rerouted(hidden_LND, references)
        assert references is not None
        if kind == "boundary":
            return boundary_loss(hidden_LND, references).total, 0.0
        if kind == "retain" and plan.retain_loss == "kl":
            log_probs_NV = torch.log_softmax(logits(model, references[0]).float(), dim=-1)
            return divergence_loss(logits(model, hidden_LND[0]), log_probs_NV).total, 0.0
        return retain_loss(hidden_LND, references).total, 0.0

    def _continued(self, scores_NV: Tensor, references_NV: Tensor | None, tokens_N: Tensor) -> Tensor:
        """The twin loss of the masked tokens, each predicted from the token before it."""
        if references_NV is None:
            return cross_entropy_loss(scores_NV, tokens_N).total
        return twin_loss(scores_NV, references_NV, tokens_N, hard=self._plan.twin_hard).total

    def _rerouted(self, hidden_LND: Tensor, references_LND: Tensor | None) -> tuple[Tensor, float]:
        """The rerouting loss, and the sum of cosines with the frozen states where these are known."""
        plan, directions_LD = self._plan, self._directions_LD
        if references_LND is None:
            if plan.rerouting_loss == "rmu":
                return rmu_loss(hidden_LND, directions_LD, plan.random_scale).total, 0.0
            return random_loss(hidden_LND, directions_LD).total, 0.0
        cosines_LN = cosines(hidden_LND, references_LND)
        if plan.rerouting_loss == "triplet":
            summed = triplet_loss(cosines_LN, hidden_LND, directions_LD, plan.margin)
        elif plan.rerouting_loss == "distance":
            summed = distance_loss(hidden_LND, references_LND, plan.margin)
        else:
            summed = rerouting_loss(cosines_LN)
        return summed.total, float(cosines_LN.detach().sum())

    def _tensors(self, batch: Sequence[Example]) -> tuple[Tensor, Tensor]:
        device: torch.device = self._base.model.device
        ids_BT = padded([example.ids for example in batch]).to(device)
        return ids_BT, padded([example.mask for example in batch]).to(device)
