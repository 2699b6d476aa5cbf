"""The gradient of one virtual rank of one step: a pure function of the adapter's values, the step and the part.

Promises: losses are divided by the counts of the *whole* step, so the parts' gradients add up to the step's gradient
however it is cut; the loss is c_s·L_rerouting + c_r·L_retain + α·W·L_twin with the paper's schedule for c_s and c_r,
unless the plan chooses others (`training.terms`).
Leaves out: the optimizer, and who computes which part (`training.engine`).

Shapes: L layers, N masked tokens, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import inf

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
from tsgb.breakers.representations import LAST, logits
from tsgb.errors import ModelError
from tsgb.models.fused import FusedLora
from tsgb.models.loading import Base, using
from tsgb.models.recompute import recomputed
from tsgb.records.training import KINDS, Example, Kind
from tsgb.training.forward import Forward, Read
from tsgb.training.parts import cut, micro_batches, packed_batches
from tsgb.training.plan import Strata, TrainingPlan, draw
from tsgb.training.references import References
from tsgb.training.terms import Micro, count, depth, layers, micro_steps, predicts, weights
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
        self._fused = FusedLora(base, name) if plan.fused_lora else None
        size = base.model.config.get_text_config().hidden_size
        self._directions_LD = random_directions(len(plan.layers), size, plan.seed).to(base.model.device)

    def gradient(self, step: int, part: int, vector: Tensor) -> PartGradient:
        """The part's share of the step's gradient at the adapter `vector`; `step` counts finished steps."""
        self._adapter.write(vector)
        sums: defaultdict[str, float] = defaultdict(float)
        with using(self._base, self._name), self._switches(), _out_of_memory(self._plan):
            for micro, drawn in enumerate(micro_steps(self._plan, draw(self._plan, self._strata, step))):
                scales = self._scales(step, micro, drawn)
                for batch in self._batches(cut(drawn, self._plan.parts)[part]):
                    for key, value in self._backward(batch, scales).items():
                        sums[key] += value
        return PartGradient(self._adapter.take_gradient(), dict(sums))

    def _scales(self, step: int, micro: int, drawn: Micro) -> dict[Kind, float]:
        """The weight of one term of each loss: its coefficient over the number of terms in the whole step."""
        plan, by_kind = self._plan, {kind: [each for each in drawn if each.kind == kind] for kind in KINDS}
        each = weights(plan, step, micro)
        return {kind: each[kind] / count(plan, kind, members) for kind, members in by_kind.items() if members}

    def _batches(self, part: Sequence[Example]) -> Iterator[list[Example]]:
        if self._plan.packed:
            return packed_batches(part, self._plan.micro_tokens, self._reach)
        return micro_batches(part, self._plan.micro_tokens)

    def _reach(self, example: Example) -> tuple[int, float]:
        """Where the model is taken to end for an example, and the highest layer that is read of it."""
        read = layers(self._plan, example.kind)
        return depth(self._plan, example.kind) or 0, inf if LAST in read else max(read)

    @contextmanager
    def _switches(self) -> Iterator[None]:
        """What the plan says about how, and not what, the model computes."""
        with ExitStack() as stack:
            if self._fused is not None:
                stack.enter_context(self._fused.on())
            if self._plan.recompute:
                stack.enter_context(recomputed(self._base.model))
            yield

    def _backward(self, batch: Sequence[Example], scales: Mapping[Kind, float]) -> dict[str, float]:
        """Add the gradient of a micro-batch to the adapter's; what was seen on the way."""
        references = self._references.of(batch)
        forward = Forward(self._base.model, self._plan, batch)
        seen: dict[str, float] = {"tokens": sum(len(example.ids) for example in batch), "cosine": 0.0}
        with forward.on():
            losses: list[Tensor] = []
            for kind, read in forward.read().items():
                total, cosine = self._loss(kind, read, references.get(kind))
                losses.append(scales[kind] * total)
                members = [example for example in batch if example.kind == kind]
                seen |= {kind: total.item(), f"{kind}_count": count(self._plan, kind, members)}
                seen["cosine"] += cosine
            torch.autograd.backward(losses)
        return seen

    def _loss(self, kind: Kind, read: Read, references: Tensor | None) -> tuple[Tensor, float]:
        """The summed loss of one kind in a micro-batch; for breakers also the sum of cosines before the ReLU."""
        plan, model, hidden_LND = self._plan, self._base.model, read.hidden_LND
        if predicts(plan, kind):
            return self._continued(logits(model, hidden_LND[0]), references, read.tokens_N), 0.0
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


@contextmanager
def _out_of_memory(plan: TrainingPlan) -> Iterator[None]:
    """Answer a lack of memory with the settings that need less of it."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        cure = f"set breaker.micro_tokens, now {plan.micro_tokens}, to {max(1, plan.micro_tokens // 2)}"
        if not plan.recompute:
            cure += ", or breaker.recompute to true"
        raise ModelError(f"A micro-batch needs more memory than there is: {cure}.") from error
