"""What a training learns from, and how far it is: set examples, and what of its state is no tensor."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema, model_validator

from tsgb.records.base import Record
from tsgb.records.run import CLOSED, Count, Digest, Name, StoredRecord

Kind = Literal["breaker", "retain", "twin", "boundary"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def _marks(value: object) -> object:
    """Read a mask as it is stored."""
    if not isinstance(value, str):
        return value
    if set(value) - {"0", "1"}:
        raise ValueError("a mask is a text of 0 and 1")
    return tuple(bit == "1" for bit in value)


def _text(mask: tuple[bool, ...]) -> str:
    return "".join("01"[marked] for marked in mask)


Mask = Annotated[
    tuple[bool, ...],
    BeforeValidator(_marks),
    PlainSerializer(_text, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": "^[01]*$"}),
]
"""A mark for every token; stored as a text of 0 and 1."""


class Example(Record):
    """One sequence to learn from; a line of a set under `data/blobs`."""

    id: str
    """The scenario's name and a digest of the content."""
    kind: Kind
    """Which loss it serves."""
    stratum: str
    """Where it comes from, such as `breaker/found`; drawing weighs strata."""
    ids: tuple[Count, ...]
    """Token ids of the dialogue."""
    mask: Mask
    """The tokens that the loss looks at."""
    reference_ids: tuple[Count, ...] = ()
    """For a twin: the clean dialogue with the same continuation. For a boundary: the answered request."""
    reference_mask: Mask = ()
    """For a twin: the same continuation tokens in the clean dialogue. For a boundary: those its centre is taken of."""

    @model_validator(mode="after")
    def _a_mark_for_every_token(self) -> Self:
        for tokens, marks in ((self.ids, self.mask), (self.reference_ids, self.reference_mask)):
            if len(tokens) != len(marks):
                raise ValueError(f"{len(tokens)} tokens have {len(marks)} marks")
        if not any(self.mask):
            raise ValueError("no token is marked, so its loss would be of nothing")
        return self


class RandomNumbers(Record):
    """Where random numbers come from; they are functions of this, the step and the place, so no more needs saving."""

    seed: int = Field(ge=0, lt=2**63)
    """Seed of the training."""
    scheme: str
    """How numbers are made of seed, step and place."""


class RoleState(Record):
    """What one adapter's training depends on beside tensors."""

    model_config = ConfigDict(strict=True)

    digest: str
    """What the state belongs to: plan, examples and base."""
    steps: Count
    """Finished steps: schedules and the order of examples are functions of this one integer."""
    adam_steps: Count
    """Steps by which AdamW corrects the bias of its moments."""
    learning_rates: tuple[float, ...] = Field(min_length=1, max_length=1)
    """Learning rate of every parameter group as last set."""
    rng: RandomNumbers
    """Where random numbers come from."""
    tensors: Digest
    """BLAKE3 over names, types, shapes and bytes of all tensors."""


class TrainerState(StoredRecord):
    """`trainer_state.json` of a commit: all of a training's state that is no tensor."""

    roles: Annotated[dict[Name, RoleState], CLOSED] = Field(min_length=1)
    """Adapter → the state of its training."""
