"""Hidden states are those of transformers, whichever layers are asked for, and padding does not reach them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedModel

from tsgb.breakers.representations import LAST, hidden_states, logits, padded
from tsgb.errors import ModelError

IDS = ((5, 6, 7, 8, 9), (9, 8, 7))


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> PreTrainedModel:
    return LlamaForCausalLM.from_pretrained(tiny_model_path).eval()  # type: ignore[no-any-return]


@pytest.mark.parametrize("layers", [(0,), (1,), (1, 2), (2, LAST), (0, 3), (2, 2, 1)])
def test_every_layer_is_the_one_that_transformers_numbers_so(model: PreTrainedModel, layers: tuple[int, ...]) -> None:
    ids = torch.tensor([IDS[0]])
    with torch.no_grad():
        expected = model(ids, output_hidden_states=True).hidden_states
        assert torch.equal(hidden_states(model, ids, layers), torch.stack([expected[layer] for layer in layers]))


def test_padding_on_the_right_changes_nothing_before_it(model: PreTrainedModel) -> None:
    with torch.no_grad():
        together = hidden_states(model, padded(IDS), (2, LAST))[:, 1, :3]
        alone = hidden_states(model, padded(IDS[1:]), (2, LAST))[:, 0]
    torch.testing.assert_close(together, alone)


def test_blocks_above_the_highest_layer_do_not_run(model: PreTrainedModel) -> None:
    ran: list[int] = []
    hooks = [
        block.register_forward_pre_hook(lambda *_, number=number: ran.append(number))
        for number, block in enumerate(model.base_model.layers)
    ]
    hidden_states(model, padded(IDS), (1, 2))
    for hook in hooks:
        hook.remove()
    assert ran == [0, 1]


def test_gradients_flow_and_logits_are_the_models(model: PreTrainedModel) -> None:
    ids = torch.tensor([IDS[0]])
    chosen = hidden_states(model, ids, (LAST,))[0, 0, 2:4]
    torch.testing.assert_close(logits(model, chosen), model(ids).logits[0, 2:4])
    weight = model.base_model.layers[0].mlp.up_proj.weight
    (gradient,) = torch.autograd.grad(logits(model, chosen).sum(), weight)
    assert gradient.abs().sum() > 0


def test_a_model_taken_to_end_earlier_is_the_one_that_transformers_cuts_there(model: PreTrainedModel) -> None:
    ids = torch.tensor([IDS[0]])
    with torch.no_grad():
        cut = hidden_states(model, ids, (0, 1, 2, LAST), depth=2)
        whole = hidden_states(model, ids, (0, 1, 2, LAST))
        model.config.num_hidden_layers = 2
        expected = model(ids, output_hidden_states=True).hidden_states
        model.config.num_hidden_layers = 3
    assert torch.equal(cut, torch.stack([*expected, expected[-1]]))
    assert torch.equal(whole[:2], cut[:2])
    assert not torch.equal(whole[3], cut[3])
    with pytest.raises(ModelError, match="has no layer 4"):
        hidden_states(model, ids, (1,), depth=4)


def test_a_layer_that_does_not_exist_is_refused_in_one_sentence(model: PreTrainedModel) -> None:
    with pytest.raises(ModelError, match="has no layer 4: choose 0 to 3"):
        hidden_states(model, padded(IDS), (4,))
