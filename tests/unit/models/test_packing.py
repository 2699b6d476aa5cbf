"""Sequences in one row are read as if each stood alone, whatever the family of the model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from tsgb.errors import ModelError
from tsgb.models.packing import packed

from .architectures import FAMILIES, random_model

LENGTHS = (5, 17, 9, 1, 12)
"""Some longer than the windows, some shorter."""


def sequences() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(3, 96, (length,), generator=generator) for length in LENGTHS]


def states(model: PreTrainedModel, row_N: Tensor) -> Tensor:
    hidden: Tensor = model.base_model(input_ids=row_N[None], use_cache=False).last_hidden_state[0]
    return hidden


@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_row_has_the_states_and_gradients_of_its_sequences(family: str) -> None:
    model = random_model(family)
    weight = model.base_model.layers[0].self_attn.k_proj.weight.requires_grad_()
    alone = torch.cat([states(model, ids) for ids in sequences()])
    with packed(model, LENGTHS):
        together = states(model, torch.cat(sequences()))
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    expected, got = (torch.autograd.grad(each.pow(2).mean(), weight)[0] for each in (alone, together))
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["mistral", "gemma3_text", "gpt_oss"])
def test_windows_reach_the_packed_row(family: str) -> None:
    wide = random_model(family, sliding_window=64)
    with packed(wide, LENGTHS):
        unlimited = states(wide, torch.cat(sequences()))
    narrow = random_model(family)
    with packed(narrow, LENGTHS):
        assert not torch.allclose(states(narrow, torch.cat(sequences())), unlimited, atol=1e-3)


def test_after_the_block_the_model_reads_rows_as_before() -> None:
    model = random_model("llama")
    row = torch.cat(sequences())
    before = states(model, row)
    with packed(model, LENGTHS):
        assert not torch.equal(states(model, row), before)
    assert torch.equal(states(model, row), before)


def test_layers_that_cannot_be_packed_are_refused_in_one_sentence() -> None:
    chunked = LlamaForCausalLM(LlamaConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=8))
    chunked.config.layer_types = ["chunked_attention"]
    message = r"^LlamaForCausalLM cannot be packed \(chunked_attention\); set breaker\.packed to false\.$"
    with pytest.raises(ModelError, match=message), packed(chunked, LENGTHS):
        pass
