"""From a dialogue to the tokens a model reads, and back: which tokens belong to which message.

Promises: the text is what the tokenizer's own chat template makes of the dialogue, it is tokenised once as a whole, and
every message is located by token offsets, never by searching for its words: an injection cannot fake a boundary.
Leaves out: templates that rewrite what came before as the dialogue goes on (thinking blocks that vanish) are refused.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from tsgb.errors import InputError, ModelError
from tsgb.records.dialogue import Mark, Message

Tools = Sequence[Mapping[str, Any]]
"""JSON schemas of the tools, as chat templates take them."""


@dataclass(frozen=True, slots=True)
class Span:
    """The tokens `start..end` of one message; an assistant's header ends at `body_start`, elsewhere it is `start`."""

    message: int
    start: int
    body_start: int
    end: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """A rendered dialogue: its text, its token ids and one span for each message."""

    text: str
    ids: tuple[int, ...]
    spans: tuple[Span, ...]


def encode(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    tools: Tools = (),
    *,
    add_generation_prompt: bool = False,
) -> Encoded:
    """Render and tokenise a dialogue with the place of every message; raises `ModelError` where places are not certain.

    An assistant's body runs up to and including its end-of-turn token. A message that the template does not end by
    itself (a system prompt woven into the first user turn) has an empty span; its tokens belong to the next message.
    """
    text = render(tokenizer, messages, tools, add_generation_prompt=add_generation_prompt)
    ids, ends = _tokenise(tokenizer, text)
    places = _places(tokenizer, text, messages, tools)
    spans = (Span(i, *(bisect_right(ends, char) for char in place)) for i, place in enumerate(places))
    return Encoded(text, ids, tuple(_without_trailer(tokenizer, ids, span) for span in spans))


def prompt(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: Tools = (), prefill: str = ""
) -> str:
    """The text after which the assistant goes on writing, its first words `prefill` already put in its mouth."""
    return render(tokenizer, messages, tools, add_generation_prompt=True) + prefill


def locate(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: Tools, encoded: Encoded, mark: Mark
) -> range:
    """The tokens of an encoded dialogue that hold a marked span of what one of its messages says.

    Raises `InputError` for a mark outside the dialogue, `ModelError` where the template does not write a message as it
    stands.
    """
    content = messages[mark.message].content if mark.message < len(messages) else ""
    if not mark.start < mark.end <= len(content):
        raise InputError(
            f"A mark covers characters {mark.start} to {mark.end} of message {mark.message}, but the dialogue has "
            f"{len(messages)} messages and that one {len(content)} characters; mark what is there."
        )
    place = _content_start(tokenizer, encoded.text, messages, tools, mark.message)
    _, ends = _tokenise(tokenizer, encoded.text)
    return range(bisect_right(ends, place + mark.start), bisect_left(ends, place + mark.end) + 1)


def require_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise `ModelError` for a tokenizer that cannot render any dialogue."""
    if not tokenizer.chat_template:
        raise ModelError(
            f"The tokenizer of {tokenizer.name_or_path!r} has no chat template; "
            "bring an instruction-tuned model, or put a chat_template.jinja beside its tokenizer."
        )


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    tools: Tools = (),
    *,
    add_generation_prompt: bool = False,
) -> str:
    """The dialogue as text; raises `ModelError` when there is no chat template or the template refuses the dialogue."""
    require_template(tokenizer)
    try:
        return str(
            tokenizer.apply_chat_template(
                _conversation(messages),
                tools=[dict(tool) for tool in tools] or None,
                add_generation_prompt=add_generation_prompt,
                tokenize=False,
            )
        )
    except (TemplateError, TypeError) as error:
        raise ModelError(
            f"The chat template of {tokenizer.name_or_path!r} refuses a dialogue of roles "
            f"{[message.role for message in messages]} ({error}); bring a model whose template knows these roles."
        ) from error


def _conversation(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as chat templates take them; calls get ids of nine characters (as Mistral wants), answers theirs."""
    conversation: list[dict[str, Any]] = []
    asked: list[str] = []
    answered = 0
    for message in messages:
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls:
            ids = [f"call{len(asked) + k:05d}" for k in range(len(message.tool_calls))]
            asked += ids
            turn["tool_calls"] = [
                {"type": "function", "id": id_, "function": {"name": call.name, "arguments": call.arguments}}
                for id_, call in zip(ids, message.tool_calls, strict=True)
            ]
        if message.role == "tool" and answered < len(asked):
            turn["tool_call_id"] = asked[answered]
            answered += 1
        if message.name is not None:
            turn["name"] = message.name
        conversation.append(turn)
    return conversation


def _tokenise(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[tuple[int, ...], list[int]]:
    """Token ids of the whole text, and the character at which each token ends."""
    if not tokenizer.is_fast:
        raise ModelError(
            f"The tokenizer of {tokenizer.name_or_path!r} gives no token offsets; bring one with a tokenizer.json."
        )
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return tuple(encoding["input_ids"]), [end for _, end in encoding["offset_mapping"]]


def _places(
    tokenizer: PreTrainedTokenizerBase, text: str, messages: Sequence[Message], tools: Tools
) -> list[tuple[int, int, int]]:
    """Characters (start, body start, end) of every message; around an assistant's turn the text must be exact."""
    places: list[tuple[int, int, int]] = []
    end = 0
    for i, message in enumerate(messages):
        start = body = end
        if message.role == "assistant":
            body = _length_before(tokenizer, text, messages[:i], tools)
            end = _exact(tokenizer, text, render(tokenizer, messages[: i + 1], tools), i)
        else:
            end = _approximate_end(tokenizer, text, messages[: i + 1], tools, start)
        places.append((start, body, end))
    return places


def _length_before(tokenizer: PreTrainedTokenizerBase, text: str, before: Sequence[Message], tools: Tools) -> int:
    """Characters up to the first one that the assistant writes itself."""
    return _exact(tokenizer, text, prompt(tokenizer, before, tools), len(before)) if before else 0


def _exact(tokenizer: PreTrainedTokenizerBase, text: str, prefix: str, message: int) -> int:
    if not text.startswith(prefix):
        raise ModelError(
            f"The chat template of {tokenizer.name_or_path!r} writes message {message} differently once the dialogue "
            "goes on, so the assistant's tokens cannot be located; bring a template that only appends."
        )
    return len(prefix)


def _content_start(
    tokenizer: PreTrainedTokenizerBase, text: str, messages: Sequence[Message], tools: Tools, number: int
) -> int:
    """Where what a message says begins: where the text changes with its first character, and nothing before does."""
    content = messages[number].content
    other = messages[number].model_copy(update={"content": ("b" if content[0] == "a" else "a") + content[1:]})
    changed = render(tokenizer, (*messages[:number], other, *messages[number + 1 :]), tools)
    start = len(commonprefix((text, changed)))  # noqa: RUF071 (characters are meant)
    if not text.startswith(content, start):
        raise ModelError(
            f"The chat template of {tokenizer.name_or_path!r} does not write message {number} as it stands, so no span "
            "of it can be located; bring a template that does, or choose another breaker.mask."
        )
    return start


def _approximate_end(
    tokenizer: PreTrainedTokenizerBase, text: str, messages: Sequence[Message], tools: Tools, start: int
) -> int:
    """Where a message not the assistant's ends: templates may join it with the next, or refuse to stop there."""
    try:
        prefix = render(tokenizer, messages, tools)
    except ModelError:
        return start
    common = prefix if text.startswith(prefix) else commonprefix((prefix, text))  # noqa: RUF071 (characters are meant)
    return max(start, len(common))


def _without_trailer(tokenizer: PreTrainedTokenizerBase, ids: tuple[int, ...], span: Span) -> Span:
    """End an assistant's span at its end-of-turn token: the line break that many templates add is not its own."""
    body = ids[span.body_start : span.end]
    if span.body_start == span.start or tokenizer.eos_token_id not in body:
        return span
    written = len(body) - body[::-1].index(tokenizer.eos_token_id)
    return Span(span.message, span.start, span.body_start, span.body_start + written)
