"""Fused LoRA is PEFT's LoRA, in fewer pieces."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tsgb.breakers.representations import hidden_states
from tsgb.errors import ModelError
from tsgb.models.fused import FusedLora
from tsgb.models.loading import Base, adapter_parameters, add_adapter, load_base, using

from .architectures import random_model

IDS = torch.tensor([[5, 40, 80, 20, 7, 9], [8, 8, 3, 12, 90, 1]])


def guarded(model: str) -> Base:
    base = Base(random_model(model), None, model, "")  # type: ignore[arg-type]
    add_adapter(base, "guard", rank=4, alpha=8, layers=(0, 1, 2), init_std=0.1, seed=1)
    return base


def outcome(base: Base, name: str | None = "guard") -> tuple[Tensor, dict[str, Tensor]]:
    parameters = adapter_parameters(base, "guard")
    for parameter in parameters.values():
        parameter.grad = None
    with using(base, name):
        states = hidden_states(base.model, IDS, (1, 2, 3))
        if name is not None:
            states.pow(2).mean().backward()
    return states.detach(), {key: parameter.grad for key, parameter in parameters.items() if parameter.grad is not None}


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "qwen3_moe"])
def test_states_and_gradients_are_pefts(family: str) -> None:
    base = guarded(family)
    expected, gradients = outcome(base)
    with FusedLora(base, "guard").on():
        states, fused = outcome(base)
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)
    assert fused.keys() == gradients.keys() and all(gradient.abs().max() > 0 for gradient in fused.values())
    torch.testing.assert_close(fused, gradients, atol=1e-5, rtol=1e-5)


def test_with_the_adapter_off_it_is_the_frozen_model_to_the_bit() -> None:
    base = guarded("llama")
    expected, _ = outcome(base, None)
    with FusedLora(base, "guard").on():
        assert torch.equal(outcome(base, None)[0], expected)


def test_modules_that_read_the_same_tensor_compute_together_and_others_alone() -> None:
    groups = FusedLora(guarded("llama"), "guard")._groups
    assert [len(group._modules) for group in groups] == [3, 1, 2, 1] * 3


def test_another_adapter_is_left_to_peft() -> None:
    base = guarded("llama")
    add_adapter(base, "other", rank=2, alpha=8, layers=(1,), init_std=0.1, seed=2)
    with torch.no_grad(), using(base, "other"):
        expected = hidden_states(base.model, IDS, (3,))
        with FusedLora(base, "guard").on():
            assert torch.equal(hidden_states(base.model, IDS, (3,)), expected)


def test_afterwards_peft_computes_again() -> None:
    base = guarded("llama")
    expected = outcome(base)
    with FusedLora(base, "guard").on():
        pass
    torch.testing.assert_close(outcome(base), expected, atol=0, rtol=0)


def test_gradients_are_fp32_on_a_half_precision_base(tiny_model_path: Path) -> None:
    base = load_base(tiny_model_path, dtype="bfloat16")
    add_adapter(base, "guard", rank=4, alpha=8, layers=(0, 1, 2), init_std=0.1, seed=1)
    _, gradients = outcome(base)
    with FusedLora(base, "guard").on():
        states, fused = outcome(base)
    assert states.dtype == torch.bfloat16 and {each.dtype for each in fused.values()} == {torch.float32}
    cosine = torch.cosine_similarity(
        *(torch.cat([g.reshape(-1) for g in each.values()]) for each in (fused, gradients)), 0
    )
    assert cosine > 0.99


def test_dropout_is_refused_in_one_sentence() -> None:
    base = guarded("llama")
    fused = FusedLora(base, "guard")
    base.model.base_model.layers[0].self_attn.q_proj.lora_dropout["guard"] = nn.Dropout(0.1)
    with pytest.raises(ModelError, match=r"^Fused LoRA has no dropout: set the dropout to 0, or"), fused.on():
        pass
