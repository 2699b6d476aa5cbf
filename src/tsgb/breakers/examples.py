"""What a training learns from: token sequences, and the tokens each loss looks at.

Promises: a breaker's mask covers only what the assistant wrote itself, from where it leaves the honest answer on, so
that the header and the shared beginning stay free for the honest call; the masks of a twin and of its reference lie on
equal tokens. An example is named by its content, and the same examples always make the same bytes.
Leaves out: which trajectories to take, and how often an example is drawn (`training.plan`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from itertools import takewhile

from pydantic import ValidationError
from transformers import PreTrainedTokenizerBase

from tsgb.errors import InputError
from tsgb.models.rendering import Encoded, Tools, encode
from tsgb.records.base import first_problem
from tsgb.records.dialogue import Message, ToolCall, Trajectory
from tsgb.records.training import Example, Kind


def breaker_example(
    tokenizer: PreTrainedTokenizerBase,
    tools: Tools,
    trajectory: Trajectory,
    honest: Sequence[Message] | None,
    *,
    stratum: str = "breaker/found",
) -> Example | None:
    """The dialogue up to the attacker's goal call, masked from the first token that the honest answer does not share.

    `honest` is what was answered in the same scenario without the attack; without it the whole body is masked. What
    follows a forced prefill is masked in any case. None when no message carries the goal call.
    """
    turn = _goal_turn(trajectory, honest or ())
    if turn is None:
        return None
    scenario = trajectory.scenario
    before = (*scenario.messages, *trajectory.messages[:turn])
    encoded = encode(tokenizer, (*before, trajectory.messages[turn]), tools)
    shared = _shared_tokens(tokenizer, tools, before, encoded, honest[turn] if honest and turn < len(honest) else None)
    if scenario.prefill and turn == 0:
        shared = min(shared, len(tokenizer(scenario.prefill, add_special_tokens=False)["input_ids"]))
    span = encoded.spans[-1]
    mask = _mask(encoded.ids, range(span.body_start + shared, span.end))
    return _named(scenario.id, "breaker", stratum, encoded.ids[: span.end], mask[: span.end])


def twin_example(
    tokenizer: PreTrainedTokenizerBase,
    tools: Tools,
    attacked: Trajectory,
    clean: Trajectory,
    *,
    stratum: str = "twin/found",
) -> Example | None:
    """The attacked context continued as the clean dialogue goes on, beside the clean dialogue itself.

    The context ends with the message in which the attack shows (a tool result, or the user's wrapped request). None
    when the two part in an assistant's turn or nowhere, or when the continuation is not the same tokens in both.
    """
    attacked_messages, clean_messages = _dialogue(attacked), _dialogue(clean)
    parting = _parting(attacked_messages, clean_messages)
    if parting is None:
        return None
    hybrid = (*attacked_messages[: parting + 1], *clean_messages[parting + 1 :])
    hardened, reference = encode(tokenizer, hybrid, tools), encode(tokenizer, clean_messages, tools)
    mask, reference_mask = _assistant_mask(hardened, parting), _assistant_mask(reference, parting)
    if not any(mask) or _selected(hardened.ids, mask) != _selected(reference.ids, reference_mask):
        return None
    return _named(attacked.scenario.id, "twin", stratum, hardened.ids, mask, reference.ids, reference_mask)


def retain_example(
    tokenizer: PreTrainedTokenizerBase,
    tools: Tools,
    trajectory: Trajectory,
    *,
    assistant_only: bool = False,
    stratum: str = "retain/benign",
) -> Example:
    """A dialogue whose representations stay as they are, at every token or only at the assistant's own."""
    encoded = encode(tokenizer, _dialogue(trajectory), tools)
    mask = _assistant_mask(encoded, -1) if assistant_only else (True,) * len(encoded.ids)
    return _named(trajectory.scenario.id, "retain", stratum, encoded.ids, mask)


def dump_examples(examples: Iterable[Example]) -> bytes:
    """The examples as JSON lines in the given order; masks are strings of 0 and 1."""
    plain = (example.model_dump(mode="json") for example in examples)
    return b"".join(json.dumps(each, separators=(",", ":")).encode() + b"\n" for each in plain)


def load_examples(data: bytes, name: str = "examples") -> tuple[Example, ...]:
    """Examples from JSON lines; raises `InputError` that names the broken line."""
    return tuple(_parse(line, f"{name}, line {number}") for number, line in enumerate(data.splitlines(), 1))


def _goal_turn(trajectory: Trajectory, honest: Sequence[Message]) -> int | None:
    """The first turn with exactly the attacker's call, or else the first that resembles it and is not honest."""
    attack = trajectory.scenario.attack
    if attack is None:
        return None
    turns = [(turn, call) for turn, message in enumerate(trajectory.messages) for call in message.tool_calls]
    exact = (turn for turn, call in turns if call == attack.goal)
    asked = [call for message in honest for call in message.tool_calls]
    same_tool = (turn for turn, call in turns if _may_be(call, attack.goal) and call not in asked)
    return next(exact, next(same_tool, None))


def _may_be(call: ToolCall, goal: ToolCall) -> bool:
    """Whether a call of the goal's tool has at least one of its arguments."""
    return call.name == goal.name and any(call.arguments.get(key) == value for key, value in goal.arguments.items())


def _shared_tokens(
    tokenizer: PreTrainedTokenizerBase,
    tools: Tools,
    before: Sequence[Message],
    encoded: Encoded,
    honest: Message | None,
) -> int:
    """How many body tokens of the last message the honest answer begins with too; never all of them."""
    if honest is None or honest.role != "assistant":
        return 0
    other = encode(tokenizer, (*before, honest), tools)
    bodies = [each.ids[each.spans[-1].body_start : each.spans[-1].end] for each in (encoded, other)]
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(*bodies, strict=False)))
    return shared if shared < len(bodies[0]) else 0


def _dialogue(trajectory: Trajectory) -> tuple[Message, ...]:
    return (*trajectory.scenario.messages, *trajectory.messages)


def _parting(attacked: Sequence[Message], clean: Sequence[Message]) -> int | None:
    """The first place where the dialogues differ, if both have a message of the same role there that is no answer."""
    for place, (left, right) in enumerate(zip(attacked, clean, strict=False)):
        if left != right:
            return place if left.role == right.role != "assistant" else None
    return None


def _assistant_mask(encoded: Encoded, after: int) -> tuple[bool, ...]:
    """The bodies of assistant messages that come after message number `after`."""
    bodies = (range(s.body_start, s.end) for s in encoded.spans if s.message > after and s.body_start > s.start)
    return _mask(encoded.ids, *bodies)


def _mask(ids: Sequence[int], *ranges: range) -> tuple[bool, ...]:
    marked = {place for each in ranges for place in each}
    return tuple(place in marked for place in range(len(ids)))


def _selected(ids: Sequence[int], mask: Sequence[bool]) -> list[int]:
    return [token for token, marked in zip(ids, mask, strict=True) if marked]


def _named(
    scenario: str,
    kind: Kind,
    stratum: str,
    ids: tuple[int, ...],
    mask: tuple[bool, ...],
    reference_ids: tuple[int, ...] = (),
    reference_mask: tuple[bool, ...] = (),
) -> Example:
    content = json.dumps([kind, ids, mask, reference_ids, reference_mask])
    digest = hashlib.blake2b(content.encode(), digest_size=8).hexdigest()
    return Example(
        id=f"{scenario}-{digest}",
        kind=kind,
        stratum=stratum,
        ids=ids,
        mask=mask,
        reference_ids=reference_ids,
        reference_mask=reference_mask,
    )


def _parse(line: bytes, place: str) -> Example:
    try:
        return Example.model_validate_json(line)
    except ValidationError as error:
        cure = "write the file with dump_examples"
        raise InputError(f"{place} is no example ({first_problem(error)}); {cure}.") from None
