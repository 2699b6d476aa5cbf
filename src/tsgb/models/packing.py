"""Sequences laid end to end in one row, each blind to the others: no token is computed for padding's sake.

    with packed(model, [len(ids) for ids in sequences]):
        model.base_model(input_ids=row_1N, use_cache=False)

Promises: attention is causal within each sequence and zero between them, positions restart, and the model's own
sliding windows, soft caps and sinks hold, for any decoder that asks transformers' registry for its attention. Outside
the block the model computes as before.
Leaves out: caches, dropout inside attention, and layers that carry a state from token to token or attend in chunks:
they are refused.

Shapes: N tokens of all sequences, H query heads, K key heads, T tokens of one sequence, D head size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from itertools import accumulate
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tsgb.errors import ModelError

PACKED = "tsgb_packed"
"""What this attention is called in transformers' registry."""
VARLEN: Any = import_module("torch.nn.attention.varlen") if find_spec("torch.nn.attention.varlen") else None
"""Flash attention over sequences of any length, which older versions of torch lack."""
KINDS = {"full_attention", "sliding_attention"}
"""Kinds of layers that can be packed, as a configuration's `layer_types` names them."""


@contextmanager
def packed(model: PreTrainedModel, lengths: Sequence[int]) -> Iterator[None]:
    """Until the block ends, the model reads one row (1, N) as sequences of these lengths.

    Raises `ModelError` for a model with layers that cannot be packed.
    """
    _require_packable(model)
    config, hook = model.config.get_text_config(), model.base_model.register_forward_pre_hook
    before = config._attn_implementation
    config._attn_implementation = PACKED
    handle = hook(_Boundaries(lengths, model.device), with_kwargs=True, prepend=True)
    try:
        yield
    finally:
        handle.remove()
        config._attn_implementation = before


class _Boundaries:
    """Tells the model where sequences end, in the names that transformers has for it."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        ends = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
        self._ends = ends if device.type == "cpu" else ends.to(device)
        self._longest = max(lengths)
        self._positions = torch.cat([torch.arange(length) for length in lengths])[None].to(device)

    def __call__(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, kwargs | {
            "position_ids": self._positions,
            "cu_seq_lens_q": self._ends,
            "cu_seq_lens_k": self._ends,
            "max_length_q": self._longest,
            "max_length_k": self._longest,
        }


def _require_packable(model: PreTrainedModel) -> None:
    config = model.config.get_text_config()
    foreign = set(getattr(config, "layer_types", None) or KINDS) - KINDS
    if getattr(config, "use_bidirectional_attention", None):
        foreign.add("bidirectional_attention")
    if getattr(config, "attention_chunk_size", None):
        foreign.add("chunked_attention")
    if foreign or not model._supports_attention_backend:
        raise ModelError(
            f"{type(model).__name__} cannot be packed ({', '.join(sorted(foreign)) or 'its attention is fixed'}); "
            "set breaker.packed to false."
        )


def _attention(
    module: nn.Module,
    query_1HND: Tensor,
    key_1KND: Tensor,
    value_1KND: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int = 0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Block-diagonal causal attention (1, N, H, D), by the fastest way that knows what this layer asks for."""
    if cu_seq_lens_q is None or dropout or kwargs.get("position_bias") is not None:
        raise ModelError(f"{type(module).__name__} cannot be packed; set breaker.packed to false.")
    window = sliding_window if sliding_window is not None and sliding_window < max_length_q else None
    layer = _Layer(scaling, window, softcap, s_aux)
    if _has_kernel(query_1HND, layer):
        return _by_kernel(query_1HND, key_1KND, value_1KND, layer, cu_seq_lens_q, max_length_q), None
    lengths = cu_seq_lens_q.diff().tolist()
    queries, keys, values = (torch.split(each, lengths, dim=2) for each in (query_1HND, key_1KND, value_1KND))
    pieces = [_one(*sequence, layer) for sequence in zip(queries, keys, values, strict=True)]
    return torch.cat(pieces, dim=2).transpose(1, 2), None


class _Layer(NamedTuple):
    """What a layer asks of its attention."""

    scaling: float | None
    window: int | None
    """How many of the last tokens, itself included, a token sees; None: all of its sequence."""
    softcap: float | None
    sinks_H: Tensor | None


def _has_kernel(query: Tensor, layer: _Layer) -> bool:
    """Whether flash attention over sequences of any length runs here."""
    plain = layer.softcap is None and layer.sinks_H is None and query.shape[-1] <= 256
    return VARLEN is not None and plain and query.is_cuda and query.dtype in (torch.bfloat16, torch.float16)


def _by_kernel(query: Tensor, key: Tensor, value: Tensor, layer: _Layer, ends: Tensor, longest: int) -> Tensor:
    attended = VARLEN.varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        ends,
        ends,
        longest,
        longest,
        scale=layer.scaling,
        window_size=(-1 if layer.window is None else layer.window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(attended, Tensor)
    return attended[None]


def _one(query: Tensor, key: Tensor, value: Tensor, layer: _Layer) -> Tensor:
    """One sequence: (1, H, T, D)."""
    length, window = query.shape[2], layer.window
    if layer.softcap is None and layer.sinks_H is None:
        mask_TT = None if window is None or window >= length else _visible(length, window, query.device)
        return F.scaled_dot_product_attention(
            query, key, value, mask_TT, is_causal=mask_TT is None, scale=layer.scaling, enable_gqa=True
        )
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if layer.scaling is None else layer.scaling)
    if layer.softcap is not None:
        scores = torch.tanh(scores / layer.softcap) * layer.softcap
    scores = scores.masked_fill(~_visible(length, window, query.device), float("-inf")).float()
    return _shares(scores, layer.sinks_H).to(value.dtype) @ value


def _visible(length: int, window: int | None, device: torch.device) -> Tensor:
    """Which tokens (queries, keys) see which: their own past, or the last `window` of it."""
    mask_TT = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    return mask_TT if window is None else mask_TT.triu(1 - window)


def _shares(scores: Tensor, sinks_H: Tensor | None) -> Tensor:
    """Softmax over keys, of which a head's sink takes its part."""
    if sinks_H is None:
        return scores.softmax(dim=-1)
    sinks = sinks_H.float().view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
    return torch.cat([scores, sinks], dim=-1).softmax(dim=-1)[..., :-1]


ALL_ATTENTION_FUNCTIONS.register(PACKED, _attention)
