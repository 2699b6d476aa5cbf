"""Which tokens of a rendered dialogue a loss looks at: by token offsets, whatever the number of turns.

Leaves out: which mask a set asks for, and refusing one that is empty (`breakers.examples`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from transformers import PreTrainedTokenizerBase

from tsgb.models.rendering import Encoded, Tools, encode, locate
from tsgb.records.dialogue import Mark, Message, Trajectory
from tsgb.records.training import Mask


def mask_of(encoded: Encoded, *ranges: range) -> Mask:
    """The tokens in any of the ranges."""
    marked = {place for each in ranges for place in each}
    return tuple(place in marked for place in range(len(encoded.ids)))


def assistant_mask(encoded: Encoded, after: int = -1) -> Mask:
    """The bodies of assistant messages that come after message number `after`."""
    bodies = (range(s.body_start, s.end) for s in encoded.spans if s.message > after and s.body_start > s.start)
    return mask_of(encoded, *bodies)


def deviation_mask(
    tokenizer: PreTrainedTokenizerBase,
    tools: Tools,
    dialogue: Sequence[Message],
    encoded: Encoded,
    honest: Sequence[Message],
    prefill: str = "",
) -> Mask:
    """The last message's body from the first token that the honest one does not share, or that follows a prefill."""
    span, shared = encoded.spans[-1], _shared_tokens(tokenizer, tools, dialogue[:-1], encoded, honest)
    if prefill:
        shared = min(shared, len(tokenizer(prefill, add_special_tokens=False)["input_ids"]))
    return mask_of(encoded, range(span.body_start + shared, span.end))


def marked_mask(
    tokenizer: PreTrainedTokenizerBase,
    tools: Tools,
    dialogue: Sequence[Message],
    encoded: Encoded,
    marks: Sequence[Mark],
) -> Mask:
    """The tokens of marked characters; without any mark the last message's body."""
    if not marks:
        return assistant_mask(encoded, len(dialogue) - 2)
    return mask_of(encoded, *(locate(tokenizer, dialogue, tools, encoded, mark) for mark in marks))


def attack_marks(trajectory: Trajectory, before: Sequence[Message]) -> tuple[Mark, ...]:
    """Where the attack's words stand in what the agent was asked and read; nothing for words put into its mouth."""
    text = trajectory.scenario.attack.text if trajectory.scenario.attack else ""
    said = ((number, message.content.find(text)) for number, message in enumerate(before) if text)
    return tuple(Mark(message=number, start=at, end=at + len(text)) for number, at in said if at >= 0)


def _shared_tokens(
    tokenizer: PreTrainedTokenizerBase,
    tools: Tools,
    before: Sequence[Message],
    encoded: Encoded,
    honest: Sequence[Message],
) -> int:
    """How many body tokens of the last message the honest answer, if any, begins with too; never all of them."""
    if not honest or honest[0].role != "assistant":
        return 0
    other = encode(tokenizer, (*before, honest[0]), tools)
    bodies = [each.ids[each.spans[-1].body_start : each.spans[-1].end] for each in (encoded, other)]
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(*bodies, strict=False)))
    return shared if shared < len(bodies[0]) else 0
