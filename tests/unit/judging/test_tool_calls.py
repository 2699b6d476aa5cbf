"""Every format gives the same calls, and no text whatever makes the parser fall over."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsgb.judging.tool_calls import parse
from tsgb.records.dialogue import ToolCall

PAY = ToolCall(name="pay", arguments={"to": "@karo", "amount": "$430"})
READ = ToolCall(name="read", arguments={})
PAY_JSON = '{"name": "pay", "arguments": {"to": "@karo", "amount": "$430"}}'
READ_JSON = '{"name":"read","arguments":{}}'


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        (PAY_JSON, "", (PAY,)),
        (f" {PAY_JSON}\n", "", (PAY,)),
        (PAY_JSON + READ_JSON, "", (PAY, READ)),
        (f"<tool_call>\n{PAY_JSON}\n</tool_call>", "", (PAY,)),
        (f"i pay.<tool_call>{PAY_JSON}</tool_call>\n<tool_call>{READ_JSON}</tool_call>", "i pay.", (PAY, READ)),
        (f"<tool_call>{PAY_JSON}", "", (PAY,)),
        (PAY_JSON.replace("arguments", "parameters"), "", (PAY,)),
        ("<|python_tag|>" + PAY_JSON.replace("arguments", "parameters"), "", (PAY,)),
        (f"{PAY_JSON}; {READ_JSON}", "", (PAY, READ)),
        (f"[TOOL_CALLS] [{PAY_JSON}, {READ_JSON}]", "", (PAY, READ)),
        (f"well then [TOOL_CALLS]{PAY_JSON}", "well then", (PAY,)),
    ],
)
def test_each_format_gives_its_words_and_calls(text: str, content: str, calls: tuple[ToolCall, ...]) -> None:
    assert parse(text) == (content, calls, False)


@pytest.mark.parametrize("text", ["", "done.", "i would write " + PAY_JSON, "[1, 2]", "pay(@karo)"])
def test_words_stay_words(text: str) -> None:
    assert parse(text) == (text, (), False)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"name": "pay", "arguments": ',
        '{"name": "pay"}',
        '{"name": 3, "arguments": {}}',
        '{"name": "", "arguments": {}}',
        '{"name": "pay", "arguments": ["@karo"]}',
        '{"name": "pay", "arguments": {"amount": NaN}}',
        '{"name": "pay", "arguments": {"to": "\\ud800"}}',
        '{"total": 3}',
        "<tool_call>pay @karo</tool_call>",
        "<tool_call></tool_call>",
        "<|python_tag|>pay.call()",
        "[TOOL_CALLS]",
        "[TOOL_CALLS] []",
        '{"name":' * 20_000,
        '{"name": "pay", "arguments": {"n": ' + "9" * 5000 + "}}",
    ],
)
def test_what_begins_as_a_call_and_is_none_is_malformed_and_kept(text: str) -> None:
    assert parse(text) == (text, (), True)


def test_a_good_call_counts_in_spite_of_what_follows_it() -> None:
    assert parse(PAY_JSON + " funy {") == ("funy {", (PAY,), True)


pieces = st.sampled_from(
    ["<tool_call>", "</tool_call>", "[TOOL_CALLS]", "<|python_tag|>", "{", "}", "[", "]", '"', ",", PAY_JSON, READ_JSON]
)


@given(st.lists(pieces | st.text(max_size=6), max_size=12).map("".join))
def test_no_text_makes_it_raise_and_every_call_can_be_stored(text: str) -> None:
    content, calls, _ = parse(text)
    assert all(ToolCall.model_validate_json(call.model_dump_json()) == call for call in calls)
    assert calls or content == text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), json_values))
def test_any_arguments_come_through(arguments: dict[str, object]) -> None:
    text = json.dumps({"name": "pay", "arguments": arguments})
    expected = ("", (ToolCall(name="pay", arguments=arguments),), False)
    assert parse(text) == parse(f"[TOOL_CALLS] [{text}]") == expected


@pytest.mark.parametrize("marker", ["<tool_call>", "[TOOL_CALLS]", "<|python_tag|>"])
def test_a_marker_inside_an_argument_is_only_text(marker: str) -> None:
    text = json.dumps({"name": "send", "arguments": {"body": marker}})
    assert (
        parse(text)
        == parse(f"[TOOL_CALLS] [{text}]")
        == ("", (ToolCall(name="send", arguments={"body": marker}),), False)
    )
