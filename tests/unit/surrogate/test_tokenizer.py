"""The surrogate's tokenizer writes an entity alike wherever it stands."""

from __future__ import annotations

from random import Random

import pytest
from transformers import PreTrainedTokenizerFast

from tsgb.judging.tool_calls import parse
from tsgb.models.rendering import encode
from tsgb.records.dialogue import Message, ToolCall
from tsgb.surrogate.corpus import sample_texts
from tsgb.surrogate.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(sample_texts(Random(0), 400), vocabulary=512)


def tokens_of(tokenizer: PreTrainedTokenizerFast, text: str) -> list[str]:
    return [tokenizer.decode([token]).strip() for token in tokenizer(text, add_special_tokens=False)["input_ids"]]


def test_a_name_has_the_same_tokens_in_prose_and_in_a_call(tokenizer: PreTrainedTokenizerFast) -> None:
    prose, call = tokens_of(tokenizer, "pay @KaRoTe now."), tokens_of(tokenizer, '{"to":"@KaRoTe"}')
    assert prose[1:5] == ["@", "Ka", "Ro", "Te"]
    assert " ".join(["@", "Ka", "Ro", "Te"]) in " ".join(call)


def test_a_call_survives_the_template_and_the_parser(tokenizer: PreTrainedTokenizerFast) -> None:
    call = ToolCall(name="pay", arguments={"to": "@KaRo", "amount": "$430"})
    encoded = encode(tokenizer, [Message(role="user", content="pay."), Message(role="assistant", tool_calls=(call,))])
    span = encoded.spans[1]
    written = tokenizer.decode(list(encoded.ids[span.body_start : span.end - 1]))
    assert parse(written).calls == (call,)


def test_any_text_comes_back_unchanged(tokenizer: PreTrainedTokenizerFast) -> None:
    text = 'Grüße, 東京! {}\n\t\\ "quoted" <|not a token|>'
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
