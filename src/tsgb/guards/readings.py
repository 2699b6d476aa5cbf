"""What guards look at: hidden states of every tool call an agent proposes, in the frozen and the hardened model.

Promises: any agent's exchange can be read, as it is rendered and tokenised anew by the guards' own tokenizer; a call is
seen with what came before it and nothing after (causal attention), so that one pass reads all calls of a dialogue;
no gradient ever leaves a reading. A turn with several calls is one proposal.
Leaves out: calls that are still being written, and what a score means (`monitor`, `probe`).

Shapes: L layers, N tokens of header and body, D hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from tsgb.breakers.representations import hidden_states, padded
from tsgb.models.loading import Base, using
from tsgb.models.rendering import Encoded, Span, Tools, encode
from tsgb.records.dialogue import Message

Dialogue = Sequence[Message]


@dataclass(frozen=True)
class Reading:
    """One proposed turn of calls: where it stands, and its states (layers, tokens, hidden) in fp32 on the CPU."""

    dialogue: int
    message: int
    header: int
    """How many of the tokens are the assistant's header, before the call itself."""
    frozen_LND: Tensor
    hardened_LND: Tensor


class Guard(Protocol):
    """Anything that scores a proposed call: the higher, the more suspicious."""

    name: ClassVar[str]

    def score(self, reading: Reading) -> float:
        """How suspicious the call is, in the guard's own unit."""
        ...


def call_spans(encoded: Encoded, messages: Dialogue) -> tuple[Span, ...]:
    """The header and body tokens of every assistant message that proposes a tool call."""
    return tuple(
        span
        for span in encoded.spans
        if messages[span.message].role == "assistant" and messages[span.message].tool_calls
    )


def read_calls(
    base: Base,
    adapter: str,
    dialogues: Sequence[Dialogue],
    tools: Tools,
    *,
    layers: Sequence[int],
    batch_size: int = 16,
) -> Iterator[Reading]:
    """Every proposed call of every dialogue, in order; raises `ModelError` where a dialogue cannot be rendered."""
    for at in range(0, len(dialogues), batch_size):
        numbered = list(enumerate(dialogues[at : at + batch_size], at))
        rendered = [(number, messages, encode(base.tokenizer, messages, tools)) for number, messages in numbered]
        located = [(number, encoded.ids, call_spans(encoded, messages)) for number, messages, encoded in rendered]
        proposed = [(number, ids[: spans[-1].end], spans) for number, ids, spans in located if spans]
        if proposed:
            yield from _read(base, adapter, proposed, layers)


def _read(
    base: Base, adapter: str, proposed: Sequence[tuple[int, tuple[int, ...], tuple[Span, ...]]], layers: Sequence[int]
) -> list[Reading]:
    ids_BT = padded([ids for _, ids, _ in proposed]).to(base.model.device)
    frozen_LBTD, hardened_LBTD = (_states(base, name, ids_BT, layers) for name in (None, adapter))
    return [
        Reading(
            dialogue=number,
            message=span.message,
            header=span.body_start - span.start,
            frozen_LND=frozen_LBTD[:, row, span.start : span.end],
            hardened_LND=hardened_LBTD[:, row, span.start : span.end],
        )
        for row, (number, _, spans) in enumerate(proposed)
        for span in spans
    ]


@torch.no_grad()
def _states(base: Base, adapter: str | None, ids_BT: Tensor, layers: Sequence[int]) -> Tensor:
    with using(base, adapter) as model:
        return hidden_states(model, ids_BT, layers).float().cpu()
