"""What a training does, and which examples each of its steps draws.

Promises: `draw` is a pure function of the plan, the examples and the step, so a resumed run needs one integer; within a
stratum no example comes twice before all have come; over the whole training strata come in exactly their shares.
Leaves out: how many processes share the work; that changes no bit.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import count, islice
from random import Random

from pydantic import Field

from tsgb.breakers.examples import dump_examples
from tsgb.errors import InputError
from tsgb.records.base import Record
from tsgb.records.recipe import Decay, Mode, ReroutingLoss, RetainLoss, TwinLoss, Weighting
from tsgb.records.training import KINDS, Example, Kind


class TrainingPlan(Record):
    """Everything that decides the bits of a defender's training, beside the base model and the examples."""

    steps: int = Field(240, ge=1)
    """Optimizer steps of the whole training; the schedules stretch over them."""
    breaker_batch: int = Field(12, ge=0)
    """Breaker examples in a step."""
    retain_batch: int = Field(32, ge=0)
    """Retain examples in a step."""
    twin_batch: int = Field(12, ge=0)
    """Twin examples in a step."""
    boundary_batch: int = Field(0, ge=0)
    """Boundary examples in a step."""
    stratum_weights: dict[str, float] = {}
    """Weight of each stratum among those of its kind; a stratum that is not named weighs 1."""
    layers: tuple[int, ...] = (2, 3)
    """Layers that are rerouted, as `breakers.representations` numbers them."""
    retain_layers: tuple[int, ...] = (2, 3, -1)
    """Layers at which retained dialogues are held; -1 is the last hidden state."""
    alpha: float = Field(10.0, gt=0)
    """The paper's α: scale of all losses."""
    mode: Mode = "paper"
    """Whose arithmetic: the paper's, or that of its released code (`training.terms`)."""
    accumulation: int = Field(1, ge=1)
    """Micro-batches of a step as the released code counts them; in the paper's mode they would change nothing."""
    padded_tokens: int = Field(1024, ge=1)
    """Length to which the released code pads retained dialogues, whose mean it takes over padding too."""
    weighting: Weighting = "dual"
    """Whether α moves from rerouting to retaining, or scales rerouting alone while retaining weighs 1."""
    decay: Decay = "linear"
    """Form in which the weight of rerouting falls."""
    decay_multiplier: float = Field(2.0, gt=0)
    """Over how many times the steps that weight would fall to 0."""
    rerouting_loss: ReroutingLoss = "cosine"
    """What is done to a breaker's states."""
    margin: float = Field(1.0, ge=0)
    """Margin of the triplet and the distance loss."""
    random_scale: float = Field(6.5, gt=0)
    """How far out the fixed point of the RMU loss lies."""
    retain_loss: RetainLoss = "distance"
    """What is held of a retained dialogue: its states, or what is said next."""
    twin_loss: TwinLoss = "kl"
    """What a twin is held to: the frozen model's next token, the continuation's own, or the frozen states."""
    boundary_weight: float = Field(1.0, ge=0)
    """Weight of the boundary loss relative to the rerouting loss."""
    twin_weight: float = Field(1.0, ge=0)
    """Weight of the twin loss relative to α, the same at every step."""
    twin_hard: float = Field(0.0, ge=0, le=1)
    """Share of cross-entropy on the continuation's own tokens in the twin loss."""
    rank: int = Field(16, ge=1)
    """Rank of a fresh adapter."""
    lora_alpha: float = Field(32.0, gt=0)
    """LoRA's scale: outputs are multiplied by this over the rank."""
    adapter_layers: tuple[int, ...] = (0, 1, 2)
    """Blocks that carry the adapter, counted from 0."""
    init_std: float = Field(0.02, ge=0)
    """Deviation of a fresh adapter's B; at 0 rerouting has no gradient to start from."""
    learning_rate: float = Field(5e-3, gt=0)
    """Peak learning rate of AdamW."""
    betas: tuple[float, float] = (0.9, 0.99)
    """AdamW's decay of the first and second moment."""
    clip: float = Field(1.0, gt=0)
    """Largest norm of a step's gradient."""
    seed: int = 0
    """Seed of the fresh adapter and of the order of examples."""
    parts: int = Field(2, ge=1)
    """Virtual ranks of a step: their gradients are summed in this order, wherever they were computed."""
    micro_tokens: int = Field(2048, ge=1)
    """Most tokens in one forward pass, padding included."""
    packed: bool = False
    """Whether sequences are laid end to end in one row without padding (`models.packing`), kinds together."""
    keep_references: bool = True
    """Whether the frozen model's states are computed one by one and kept, or with each micro-batch and not kept."""
    recompute: bool = False
    """Whether blocks compute their activations again in the backward pass instead of keeping them."""
    fused_lora: bool = False
    """Whether LoRA modules that read the same tensor compute together (`models.fused`)."""

    def batch(self, kind: Kind) -> int:
        """Examples of a kind in one step."""
        return int(getattr(self, f"{kind}_batch"))


Strata = Mapping[str, tuple[Example, ...]]


def by_stratum(examples: Iterable[Example]) -> Strata:
    """Examples grouped by stratum, in the order in which they came; the same example twice in a stratum counts once."""
    strata: dict[str, dict[str, Example]] = defaultdict(dict)
    for example in examples:
        strata[example.stratum][example.id] = example
    return {name: tuple(members.values()) for name, members in sorted(strata.items())}


def draw(plan: TrainingPlan, strata: Strata, step: int) -> tuple[Example, ...]:
    """The examples of one step (counted from 0); raises `InputError` when a kind that is asked for has none."""
    return tuple(example for kind in KINDS for example in _draw_kind(plan, strata, step, kind))


def digest(plan: TrainingPlan, strata: Strata, base: str = "") -> str:
    """What a training state belongs to: the plan, the examples and the base model's digest, as one hexadecimal name."""
    sets = dump_examples(example for members in strata.values() for example in members)
    return hashlib.sha256(b"\n".join((plan.model_dump_json().encode(), base.encode(), sets))).hexdigest()


def _draw_kind(plan: TrainingPlan, strata: Strata, step: int, kind: Kind) -> Iterator[Example]:
    size = plan.batch(kind)
    if not size:
        return
    slots = _slots(tuple(_shares(plan, strata, kind).items()), plan.steps * size, f"{plan.seed}/{kind}")
    before, now = slots[: step * size], slots[step * size : (step + 1) * size]
    for name in sorted(set(now)):
        used = before.count(name)
        yield from islice(_from(used, strata[name], f"{plan.seed}/{name}"), now.count(name))


def _shares(plan: TrainingPlan, strata: Strata, kind: Kind) -> dict[str, float]:
    """The share of each stratum of a kind that has examples and weight."""
    weights = {name: plan.stratum_weights.get(name, 1.0) for name, members in strata.items() if members[0].kind == kind}
    total = sum(weights.values())
    if total <= 0:
        raise InputError(
            f"The plan wants {plan.batch(kind)} {kind} examples a step but there are none with any weight "
            f"among the strata {sorted(strata)}; add some, or set {kind}_batch to 0."
        )
    return {name: weight / total for name, weight in weights.items() if weight > 0}


@lru_cache(maxsize=8)
def _slots(shares: tuple[tuple[str, float], ...], size: int, key: str) -> tuple[str, ...]:
    """The stratum of every slot of the whole training: exact shares (largest remainders), in seeded order."""
    counts = {name: int(share * size) for name, share in shares}
    by_remainder = sorted(shares, key=lambda item: (counts[item[0]] - item[1] * size, item[0]))
    for name, _ in by_remainder[: size - sum(counts.values())]:
        counts[name] += 1
    slots = [name for name, number in sorted(counts.items()) for _ in range(number)]
    Random(key).shuffle(slots)
    return tuple(slots)


def _from(used: int, members: Sequence[Example], key: str) -> Iterator[Example]:
    """One seeded permutation of the members after the other, without the first `used`."""
    lap, offset = divmod(used, len(members))
    for number in count(lap):
        yield from Random(f"{key}/{number}").sample(members, len(members))[offset:]
        offset = 0
