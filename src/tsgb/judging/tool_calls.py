"""Tool calls out of what an agent wrote.

Promises: never raises, whatever was written; only well-formed JSON with a name and arguments is a call;
words around calls are kept. Bare calls must begin the message: a call quoted in a sentence stays words.

| format | example |
|---|---|
| bare, also Llama 3.1's | `{"name": "pay", "arguments": {…}}`, or `parameters`, perhaps after `<|python_tag|>` |
| Hermes and Qwen | `words <tool_call>{…}</tool_call><tool_call>{…}</tool_call>` |
| Mistral | `words [TOOL_CALLS] [{…}, {…}]` |

Leaves out: calls written as code, and formats whose arguments are not JSON.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, NoReturn

from tsgb.records.dialogue import ToolCall

_HERMES = re.compile(r"<tool_call>(.*?)(?:</tool_call>|$)", re.DOTALL)
_MARKER = re.compile(r"<tool_call>|\[TOOL_CALLS\]")
_LLAMA = "<|python_tag|>"
_BETWEEN = re.compile(r"[\s;,]*")


class Parsed(NamedTuple):
    """What an agent said, the calls it asked for, and whether something that began as a call was none."""

    content: str
    calls: tuple[ToolCall, ...]
    malformed: bool


def parse(text: str) -> Parsed:
    """Split an agent's text into words and calls; without a call the words are the whole text."""
    words, payloads = _split(text)
    if not payloads:
        return Parsed(text, (), False)
    calls: list[ToolCall] = []
    malformed = False
    for payload in payloads:
        values, rest = _values(payload)
        found = [_call(value) for value in values]
        calls += [call for call in found if call is not None]
        malformed |= bool(rest) or not found or None in found
        words = f"{words} {rest}".strip()
    return Parsed(words if calls else text, tuple(calls), malformed)


def _split(text: str) -> tuple[str, list[str]]:
    """The words of a text, and the pieces of it that ought to be calls; what comes first decides the format."""
    begin = text.lstrip()
    if begin.startswith((_LLAMA, "{")):
        return "", [begin.removeprefix(_LLAMA)]
    marker = _MARKER.search(text)
    if marker is None:
        return text, []
    if marker.group() == "[TOOL_CALLS]":
        return text[: marker.start()].strip(), [text[marker.end() :]]
    return _HERMES.sub("", text).strip(), _HERMES.findall(text)


def _values(payload: str) -> tuple[list[Any], str]:
    """The JSON values a text begins with, lists opened one level, and what comes after them."""
    values: list[Any] = []
    at = _skip(payload, 0)
    try:
        while at < len(payload):
            value, end = _DECODER.raw_decode(payload, at)
            values += value if isinstance(value, list) else [value]
            at = _skip(payload, end)
    except (ValueError, RecursionError):
        pass
    return values, payload[at:].strip()


def _skip(text: str, at: int) -> int:
    between = _BETWEEN.match(text, at)
    return between.end() if between else at


def _call(value: Any) -> ToolCall | None:
    """The call that a JSON value is; None if it is none, or could not be written as JSON again."""
    if not isinstance(value, dict) or not value.get("name"):
        return None
    try:
        call = ToolCall(name=value["name"], arguments=value.get("arguments", value.get("parameters")))
        call.model_dump_json()
    except ValueError:
        return None
    return call


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
