"""What each loss of a plan looks at, how many terms its mean has, and how much it weighs: pure functions of the plan.

Promises: in the paper's mode the weights are those of the optimizer step, and a mean goes over the chosen layers and
the real tokens of the whole step. In the upstream mode both are what the released code of arXiv 2406.04313 makes of
them:

| | paper | upstream |
|---|---|---|
| schedule | finished steps of all steps | passes from 1, micro-batches included, of a fixed 300 |
| a mean goes over | the whole step | one micro-batch; their means are averaged |
| retained states | `retain_layers` | all up to the highest target, and the final norm of the block above it |
| retained tokens | those of the mask | the same, divided by padded positions |

Leaves out, as no result should hang on it: that code's schedule begins anew when its process is restarted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tsgb.breakers.representations import LAST
from tsgb.breakers.schedule import get_alpha, get_dual_coefficients, get_upstream_coefficients
from tsgb.errors import InputError
from tsgb.records.training import KINDS, Example, Kind
from tsgb.training.plan import TrainingPlan

Micro = tuple[Example, ...]


def layers(plan: TrainingPlan, kind: Kind) -> tuple[int, ...]:
    """The layers whose states a kind's loss looks at, on the hardened and on the frozen side."""
    if kind in ("breaker", "boundary") or (kind == "twin" and plan.twin_loss == "hidden"):
        return plan.layers
    if kind == "twin" or plan.retain_loss == "kl":
        return (LAST,)
    return plan.retain_layers if plan.mode == "paper" else (*range(max(plan.layers) + 1), LAST)


def depth(plan: TrainingPlan, kind: Kind) -> int | None:
    """After how many blocks the model is taken to end: upstream loads one above the highest target; None: all."""
    return max(plan.layers) + 1 if plan.mode == "upstream" and kind == "retain" else None


def predicts(plan: TrainingPlan, kind: Kind) -> bool:
    """Whether a kind's loss looks at what is said next: at the tokens before the masked ones."""
    return kind == "twin" and plan.twin_loss != "hidden"


def needed_blocks(plan: TrainingPlan) -> int | None:
    """How many blocks a training by this plan runs; None: all of them, and perhaps the LM head."""
    read = {layer for kind in KINDS if plan.batch(kind) for layer in layers(plan, kind)}
    return None if LAST in read else max(*read, max(plan.adapter_layers) + 1)


def needs_reference(plan: TrainingPlan, kind: Kind) -> bool:
    """Whether a kind's loss asks the frozen model at all."""
    if kind == "breaker":
        return plan.rerouting_loss not in ("rmu", "random")
    own_words = plan.twin_loss == "cross_entropy" or (plan.twin_loss == "kl" and plan.twin_hard == 1)
    return kind != "twin" or not own_words


def count(plan: TrainingPlan, kind: Kind, examples: Sequence[Example]) -> int:
    """Terms of the mean over examples of one kind, at least 1; raises `InputError` for one longer than upstream's."""
    if plan.mode == "paper" or kind != "retain":
        return len(layers(plan, kind)) * max(1, sum(sum(example.mask) for example in examples))
    for example in examples:
        if len(example.ids) > plan.padded_tokens:
            raise InputError(
                f"{example.id} has {len(example.ids)} tokens, more than the {plan.padded_tokens} to which upstream "
                "pads; raise breaker.padded_tokens."
            )
    return len(layers(plan, kind)) * max(1, len(examples)) * plan.padded_tokens


def coefficients(plan: TrainingPlan, step: int, micro: int = 0) -> tuple[float, float]:
    """Weights of the rerouting and of the retain loss; `step` counts finished steps, `micro` a step's micro-batches."""
    if plan.mode == "upstream":
        return get_upstream_coefficients(step * plan.accumulation + micro + 1, plan.alpha)
    if plan.weighting == "dual":
        return get_dual_coefficients(step, plan.steps, plan.alpha, plan.decay, plan.decay_multiplier)
    return get_alpha(step, plan.alpha, plan.steps, plan.decay, plan.decay_multiplier), 1.0


def weights(plan: TrainingPlan, step: int, micro: int = 0) -> dict[Kind, float]:
    """The weight of each kind's mean in the loss of a micro-batch."""
    rerouting, retain = coefficients(plan, step, micro)
    each: dict[Kind, float] = {
        "breaker": rerouting,
        "retain": retain,
        "twin": plan.alpha * plan.twin_weight,
        "boundary": rerouting * plan.boundary_weight,
    }
    return each if plan.mode == "paper" else {kind: weight / plan.accumulation for kind, weight in each.items()}


def micro_steps(plan: TrainingPlan, drawn: Sequence[Example]) -> Iterator[Micro]:
    """A step's examples in the pieces whose means are taken one by one: the paper's mode knows only the whole step."""
    pieces = plan.accumulation if plan.mode == "upstream" else 1
    kinds = [[example for example in drawn if example.kind == kind] for kind in KINDS]
    for micro in range(pieces):
        yield tuple(example for members in kinds for example in members[micro::pieces])
