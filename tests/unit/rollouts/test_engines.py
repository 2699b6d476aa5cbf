"""Engines answer in order, as `generate` would, and the same again when asked the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig

from tsgb.errors import InputError, ModelError
from tsgb.models.loading import Base, add_adapter, load_base
from tsgb.models.rendering import encode, prompt
from tsgb.records.dialogue import Message
from tsgb.rollouts.engines.base import Completion, Engine, Sampling
from tsgb.rollouts.engines.decoding import choose, decode
from tsgb.rollouts.engines.hf import HFEngine
from tsgb.rollouts.engines.scripted import ScriptedEngine

WORDS = (
    "pay @karo",
    "read the email from @lumi and reply to all of them.",
    "hi",
    "the page says: $430, sorry",
    "share /plan",
)
DIALOGUES = [(Message(role="user", content=words),) for words in WORDS]
SAMPLED = Sampling(temperature=1.0, max_new_tokens=12, seed=3)
GREEDY = Sampling(max_new_tokens=12)
ENDS = tuple(range(1, 350, 12))
"""Many tokens end a turn here, so that answers of a random model differ in length."""


@pytest.fixture(scope="module")
def base(tiny_model_path: Path) -> Base:
    base = load_base(tiny_model_path)
    base.model.generation_config.eos_token_id = list(ENDS)
    add_adapter(base, "guard", rank=4, alpha=8, layers=(0, 1, 2), init_std=0.3, seed=1)
    return base


def prompts(base: Base) -> list[list[int]]:
    return [
        base.tokenizer(prompt(base.tokenizer, dialogue), add_special_tokens=False)["input_ids"]
        for dialogue in DIALOGUES
    ]


def alone(base: Base, ids: list[int]) -> list[int]:
    """What transformers' own generate writes after one prompt."""
    config = GenerationConfig(
        max_new_tokens=GREEDY.max_new_tokens, do_sample=False, eos_token_id=list(ENDS), pad_token_id=0
    )
    output: Tensor = base.model.generate(torch.tensor([ids]), generation_config=config)
    return output[0, len(ids) :].tolist()


def test_greedy_decoding_writes_what_generate_writes(base: Base) -> None:
    written = decode(base.model, prompts(base), ends=ENDS, sampling=GREEDY, draws_BN=torch.zeros(len(WORDS), 12))
    assert [list(tokens) for tokens, _ in written] == [alone(base, ids) for ids in prompts(base)]
    assert len({len(tokens) for tokens, _ in written}) > 1


@pytest.mark.parametrize("adapter", [None, "guard"])
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED, Sampling(temperature=0.7, top_p=0.9, max_new_tokens=12)])
def test_batches_change_neither_words_nor_order(base: Base, sampling: Sampling, adapter: str | None) -> None:
    together = HFEngine(base).complete(DIALOGUES, adapter=adapter, sampling=sampling)
    apart = HFEngine(base, batch_size=2).complete(DIALOGUES, adapter=adapter, sampling=sampling)
    assert [c.token_ids for c in together] == [c.token_ids for c in apart]
    assert len({c.text for c in together}) == len(WORDS)


def test_the_adapter_and_the_seed_make_a_difference(base: Base) -> None:
    engine = HFEngine(base)
    asked = [
        engine.complete(DIALOGUES, adapter=None, sampling=SAMPLED),
        engine.complete(DIALOGUES, adapter="guard", sampling=SAMPLED),
        engine.complete(DIALOGUES, adapter=None, sampling=SAMPLED.model_copy(update={"seed": 4})),
    ]
    assert len({tuple(c.text for c in completions) for completions in asked}) == 3
    assert engine.complete(DIALOGUES, adapter=None, sampling=SAMPLED) == asked[0]


def test_sampling_leaves_the_callers_random_numbers_alone(base: Base) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    HFEngine(base).complete(DIALOGUES, adapter=None, sampling=SAMPLED)
    assert torch.equal(torch.rand(3), expected)


def test_log_probabilities_are_those_of_a_plain_forward_pass(base: Base) -> None:
    completion = HFEngine(base).complete(DIALOGUES, adapter=None, sampling=SAMPLED)[1]
    ids = prompts(base)[1]
    with torch.no_grad():
        logits = base.model(torch.tensor([[*ids, *completion.token_ids]])).logits[0, len(ids) - 1 : -1]
    expected = logits.log_softmax(-1).gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
    assert torch.allclose(torch.tensor(completion.logprobs), expected, atol=1e-4)


def test_the_text_ends_before_the_end_token_and_begins_with_the_prefill(base: Base) -> None:
    greedy = HFEngine(base).complete(DIALOGUES, adapter=None, sampling=GREEDY)
    assert any(c.token_ids[-1] in ENDS for c in greedy)
    for completion in greedy:
        said = [token for token in completion.token_ids if token not in ENDS]
        assert completion.text == base.tokenizer.decode(said)
    forced = HFEngine(base).complete(DIALOGUES[:1], adapter=None, prefills=["sure, i pay"], sampling=GREEDY)[0]
    assert forced.text == "sure, i pay" + base.tokenizer.decode([t for t in forced.token_ids if t not in ENDS])


def test_what_was_written_renders_to_the_tokens_that_were_written(tiny_model_path: Path) -> None:
    base = load_base(tiny_model_path)
    words = HFEngine(base).complete(DIALOGUES[:1], adapter=None, sampling=GREEDY)[0]
    encoded = encode(base.tokenizer, (*DIALOGUES[0], Message(role="assistant", content=words.text)))
    assert encoded.spans[1].end == len(encoded.ids)
    assert base.tokenizer.decode(encoded.ids[encoded.spans[1].body_start :]) == words.text + "<|end|>"


def test_nothing_asked_is_nothing_answered(base: Base) -> None:
    assert HFEngine(base).complete([], adapter=None, sampling=GREEDY) == []


def test_an_unknown_adapter_is_named(base: Base) -> None:
    with pytest.raises(ModelError, match="no adapter 'attacker'"):
        HFEngine(base).complete(DIALOGUES, adapter="attacker", sampling=GREEDY)


def test_draws_follow_the_distribution() -> None:
    scores = torch.tensor([0.5, 0.3, 0.2]).log().expand(10_000, 3)
    draws = torch.rand(10_000, generator=torch.Generator().manual_seed(0))
    shares = torch.bincount(choose(scores, Sampling(temperature=1.0), draws), minlength=3) / 10_000
    assert torch.allclose(shares, torch.tensor([0.5, 0.3, 0.2]), atol=0.02)
    sharper = torch.bincount(choose(scores, Sampling(temperature=0.5), draws), minlength=3) / 10_000
    assert torch.allclose(sharper, torch.tensor([25, 9, 4]) / 38, atol=0.02)


def test_the_nucleus_is_no_larger_than_needed() -> None:
    scores = torch.tensor([0.2, 0.5, 0.3]).log().expand(1000, 3)
    draws = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    assert set(choose(scores, Sampling(temperature=1.0, top_p=0.6), draws).tolist()) == {1, 2}
    assert set(choose(scores, Sampling(temperature=1.0, top_p=0.5), draws).tolist()) == {1}


def test_a_token_of_no_probability_is_never_drawn() -> None:
    scores = torch.tensor([[-torch.inf, 0.0, -torch.inf]]).expand(3, 3)
    draws = torch.tensor([0.0, 0.5, 1 - 2**-24])
    assert choose(scores, Sampling(temperature=1.0), draws).tolist() == [1, 1, 1]


def test_the_script_answers_by_mapping_or_function() -> None:
    by_words: Engine = ScriptedEngine({"hi": "hello"})
    assert by_words.complete([DIALOGUES[2]], adapter=None, sampling=GREEDY) == [Completion(text="hello")]
    by_function: Engine = ScriptedEngine(lambda dialogue: dialogue[-1].content.upper())
    answers = by_function.complete(DIALOGUES[:2], adapter="guard", prefills=["", "sure, "], sampling=GREEDY)
    assert [answer.text for answer in answers] == [WORDS[0].upper(), "sure, " + WORDS[1].upper()]


def test_a_script_without_an_answer_says_so() -> None:
    with pytest.raises(InputError, match="no answer to 'pay @karo'; add one"):
        ScriptedEngine({"hi": "hello"}).complete(DIALOGUES, adapter=None, sampling=GREEDY)


def test_the_scripted_engine_and_the_protocol_need_no_torch() -> None:
    code = (
        "import sys, json, tsgb.rollouts.engines.scripted, tsgb.judging.verdicts; print(json.dumps(list(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert not {"torch", "transformers", "peft", "safetensors"} & set(json.loads(output))
