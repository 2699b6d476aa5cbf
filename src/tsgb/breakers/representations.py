"""Hidden states at chosen layers, computed no further up than needed and never through the LM head.

Promises: layers are numbered as in `hidden_states` of transformers: 0 is the embedding, i the output of block i
(counted from 1), and the last one, also called -1, comes after the final norm; batches are padded on the right, so
causal attention needs no mask to ignore padding.
Leaves out: which adapter is active (`models.loading.using`) and whether gradients flow: both are the caller's.

Shapes: L layers, B sequences, T tokens, D hidden size, N chosen tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tsgb.errors import ModelError
from tsgb.models.loading import find_blocks
from tsgb.models.trunk import cut_from

LAST = -1


def hidden_states(model: PreTrainedModel, ids_BT: Tensor, layers: Sequence[int], *, depth: int | None = None) -> Tensor:
    """Hidden states (layers, batch, tokens, hidden) of right-padded ids; blocks above the highest layer do not run.

    With a `depth` the model is taken to end after so many blocks, and layer -1 is what its final norm makes of those.
    Raises `ModelError` when the model has no such layer.
    """
    name, blocks = find_blocks(model)
    if depth is not None:
        _checked(depth, len(blocks), model)
    wanted = [_checked(layer, depth or len(blocks), model) for layer in layers]
    with _ending_after(model, name, depth), _caught(blocks, wanted) as states, suppress(_Stop):
        states[LAST] = model.base_model(input_ids=ids_BT, use_cache=False).last_hidden_state
    return torch.stack([states[layer] for layer in wanted])


def padded(sequences: Sequence[Sequence[int]], fill: int = 0) -> Tensor:
    """Sequences as one tensor (batch, tokens), padded on the right with `fill`; works for masks of booleans too."""
    tensors = [torch.tensor(sequence) for sequence in sequences]
    return nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=fill)


def logits(model: PreTrainedModel, hidden_ND: Tensor) -> Tensor:
    """Logits (tokens, vocabulary) of chosen last hidden states, as the LM head gives them before any soft-capping."""
    scores: Tensor = model.get_output_embeddings()(hidden_ND)  # type: ignore[no-untyped-call]
    return scores


class _Stop(Exception):
    """The highest layer that was asked for is reached."""


@contextmanager
def _ending_after(model: PreTrainedModel, name: str, depth: int | None) -> Iterator[None]:
    """The model with its first `depth` blocks alone (None: as it is)."""
    if depth is None:
        yield
        return
    parent, _, attribute = name.rpartition(".")
    holder, blocks = model.get_submodule(parent), model.get_submodule(name)
    assert isinstance(blocks, nn.ModuleList)
    setattr(holder, attribute, blocks[:depth])
    try:
        yield
    finally:
        setattr(holder, attribute, blocks)


@contextmanager
def _caught(blocks: nn.ModuleList, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Collects the states at the wanted layers, and stops after the highest unless the last state is wanted too."""
    states: dict[int, Tensor] = {}
    stop = None if LAST in layers else max(layers)

    def keep(layer: int, state: Tensor) -> None:
        states[layer] = state
        if layer == stop:
            raise _Stop

    def before(block: nn.Module, inputs: Any, kwargs: Any) -> None:
        keep(0, inputs[0] if inputs else kwargs["hidden_states"])

    def after(layer: int, block: nn.Module, inputs: Any, output: Any) -> None:
        keep(layer, output[0] if isinstance(output, tuple) else output)

    hooks = [blocks[layer - 1].register_forward_hook(partial(after, layer)) for layer in set(layers) - {0, LAST}]
    if 0 in layers:
        hooks.append(blocks[0].register_forward_pre_hook(before, with_kwargs=True))
    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()


def _checked(layer: int, count: int, model: PreTrainedModel) -> int:
    if (whole := cut_from(model)) is not None:
        return _below_cut(layer, count, whole, model)
    if not LAST <= layer <= count:
        raise ModelError(f"{type(model).__name__} has no layer {layer}: choose 0 to {count}, or -1 for the last.")
    return LAST if layer == count else layer


def _below_cut(layer: int, count: int, whole: int, model: PreTrainedModel) -> int:
    if not 0 <= layer <= count:
        raise ModelError(
            f"{type(model).__name__} was loaded with {count} of its {whole} blocks and has no layer {layer}: "
            f"choose 0 to {count}, or set model.only_needed_blocks to false."
        )
    return layer
