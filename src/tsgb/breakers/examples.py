"""What a training learns from: token sequences, and the tokens each loss looks at.

Promises: unless another extent is asked for, a breaker's mask covers only what the assistant wrote itself, from where
it leaves the honest answer on, so that the header and the shared beginning stay free for the honest call; the masks of
a twin and of its reference lie on equal tokens. A mask without any token is refused. An example is named by its
content, and the same examples always make the same bytes.
Leaves out: which trajectories to take, and how often an example is drawn (`training.plan`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

from pydantic import ValidationError
from transformers import PreTrainedTokenizerBase

from tsgb.breakers.masks import assistant_mask, attack_marks, deviation_mask, marked_mask, mask_of
from tsgb.errors import InputError
from tsgb.models.rendering import Tools, encode
from tsgb.records.base import first_problem
from tsgb.records.dialogue import Mark, Message, ToolCall, Trajectory
from tsgb.records.recipe import Extent
from tsgb.records.training import Example, Kind


def breaker_example(
    tokenizer: PreTrainedTokenizerBase,
    tools: Tools,
    trajectory: Trajectory,
    honest: Sequence[Message] | None,
    *,
    stratum: str = "breaker/found",
    extent: Extent = "deviation",
) -> Example | None:
    """The dialogue up to the attacker's goal call, masked as far as `extent` says; None when no message carries it.

    * `deviation`: that call from the first token that the honest answer does not share. `honest` is what was answered
      in the same scenario without the attack; without it the whole body is masked. What follows a forced prefill is
      masked in any case.
    * `completion`: the body of every assistant's turn so far.
    * `sequence`: every token.
    * `spans`: what the trajectory marks; without marks the attack's own words, or that call if no message says them.
    """
    turn = _goal_turn(trajectory, honest or ())
    if turn is None:
        return None
    scenario = trajectory.scenario
    before = (*scenario.messages, *trajectory.messages[:turn])
    dialogue = (*before, trajectory.messages[turn])
    encoded = encode(tokenizer, dialogue, tools)
    end = encoded.spans[-1].end
    if extent == "deviation":
        prefill = scenario.prefill if turn == 0 else ""
        mask = deviation_mask(tokenizer, tools, dialogue, encoded, honest[turn : turn + 1] if honest else (), prefill)
    elif extent == "completion":
        mask = assistant_mask(encoded)
    elif extent == "sequence":
        mask = mask_of(encoded, range(end))
    else:
        marks = trajectory.marks or attack_marks(trajectory, before)
        mask = marked_mask(tokenizer, tools, dialogue, encoded, marks)
    return _named(scenario.id, "breaker", stratum, encoded.ids[:end], mask[:end])


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
    mask, reference_mask = assistant_mask(hardened, parting), assistant_mask(reference, parting)
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
    mask = assistant_mask(encoded) if assistant_only else (True,) * len(encoded.ids)
    return _named(trajectory.scenario.id, "retain", stratum, encoded.ids, mask)


def boundary_example(
    tokenizer: PreTrainedTokenizerBase, tools: Tools, trajectory: Trajectory, *, stratum: str = "boundary/harmless"
) -> Example:
    """A borderline request alone, masked where it is said, beside the dialogue in which it was answered well."""
    asked, answered = trajectory.scenario.messages, encode(tokenizer, _dialogue(trajectory), tools)
    encoded = encode(tokenizer, asked, tools)
    request = Mark(message=len(asked) - 1, start=0, end=max(1, len(asked[-1].content)))
    mask = marked_mask(tokenizer, tools, asked, encoded, (request,))
    everything = (True,) * len(answered.ids)
    return _named(trajectory.scenario.id, "boundary", stratum, encoded.ids, mask, answered.ids, everything)


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


def _dialogue(trajectory: Trajectory) -> tuple[Message, ...]:
    return (*trajectory.scenario.messages, *trajectory.messages)


def _parting(attacked: Sequence[Message], clean: Sequence[Message]) -> int | None:
    """The first place where the dialogues differ, if both have a message of the same role there that is no answer."""
    for place, (left, right) in enumerate(zip(attacked, clean, strict=False)):
        if left != right:
            return place if left.role == right.role != "assistant" else None
    return None


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
    if not any(mask):
        raise InputError(f"{scenario} gives a {kind} example whose mask has no token; mark some, or leave it out.")
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
