"""Batched decoding through transformers' `generate`, which prepares inputs and KV cache, with a loop made for rollouts.

Promises: greedy decoding gives the tokens that `generate` gives; rows that have ended leave the batch, so that one
long answer does not hold up ninety short ones; log-probabilities come with the tokens; no global random numbers are
drawn. Leaves out: beams, penalties, and every other way to bend the distribution than temperature and top-p.

Shapes: B rows, T tokens of the longest prompt, N new tokens at most, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, GenerationConfig, PreTrainedModel

from tsgb.rollouts.engines.base import Sampling

SHARE_ENDED = 0.25
"""Ended rows leave once they are this share of the batch: copying the cache costs about as much as one step."""

CACHE_NAMES = ("cache", "past_key_values")
"""What transformers calls the KV cache, since 5.24 and before."""

Written = tuple[tuple[int, ...], tuple[float, ...]]
"""Generated tokens, the end token included, and their log-probabilities at temperature 1."""


@dataclass
class _Rows:
    """The rows still in the batch: where they stand in the whole, what goes in next, and which of them have ended."""

    index_B: Tensor
    ids: Tensor
    positions: Tensor
    attention_BL: Tensor
    ended_B: Tensor
    cache: DynamicCache

    def advance(self, chosen_B: Tensor) -> None:
        self.ids, self.positions = chosen_B[:, None], self.positions[:, -1:] + 1
        if self.ended_B.float().mean() >= SHARE_ENDED:
            self._keep(torch.nonzero(~self.ended_B)[:, 0])

    def _keep(self, kept: Tensor) -> None:
        self.cache.batch_select_indices(kept)
        self.index_B, self.ids, self.positions = self.index_B[kept], self.ids[kept], self.positions[kept]
        self.attention_BL, self.ended_B = self.attention_BL[kept], self.ended_B[kept]


def decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    ends: Sequence[int],
    sampling: Sampling,
    draws_BN: Tensor,
) -> list[Written]:
    """Continue each prompt up to one of the tokens `ends`, or N = `max_new_tokens`; draws are uniform in [0, 1)."""
    tensors = [torch.tensor(list(prompt)) for prompt in prompts]
    ids_BT = nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_side="left").to(model.device)
    lengths_B = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
    padding_B1 = ids_BT.shape[1] - lengths_B[:, None]
    attention_BT = (torch.arange(ids_BT.shape[1], device=model.device) >= padding_B1).long()
    tokens_BN, logprobs_BN = model.generate(  # type: ignore[operator]
        ids_BT,
        attention_mask=attention_BT,
        generation_config=_settings(sampling, ends),
        custom_generate=_loop,
        sampling=sampling,
        draws_BN=draws_BN.to(model.device),
    )
    return [_cut(*row, ends) for row in zip(tokens_BN.tolist(), logprobs_BN.tolist(), strict=True)]


def _settings(sampling: Sampling, ends: Sequence[int]) -> GenerationConfig:
    return GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=sampling.max_new_tokens, do_sample=False, eos_token_id=list(ends), pad_token_id=ends[0]
    )


def _loop(
    model: PreTrainedModel,
    input_ids: Tensor,
    *,
    generation_config: GenerationConfig,
    sampling: Sampling,
    draws_BN: Tensor,
    **prepared: Any,
) -> tuple[Tensor, Tensor]:
    """What `generate` runs when it has prepared its inputs: new tokens (B, N) and their log-probabilities."""
    attention_BT = prepared["attention_mask"]  # None when no prompt is padded
    attention_BT = torch.ones_like(input_ids) if attention_BT is None else attention_BT
    cache = next(name for name in CACHE_NAMES if name in prepared)
    rows = _begin(input_ids, attention_BT, draws_BN.shape[1], prepared[cache])
    end_ids = torch.tensor(generation_config.eos_token_id, device=model.device)
    tokens_BN = torch.zeros(draws_BN.shape, dtype=torch.long, device=model.device)
    logprobs_BN = torch.zeros(draws_BN.shape, device=model.device)
    for step in range(draws_BN.shape[1]):
        scores_BV = _scores(model, rows, input_ids.shape[1] + step, cache)
        chosen_B = choose(scores_BV, sampling, draws_BN[rows.index_B, step])
        tokens_BN[rows.index_B, step] = chosen_B
        logprobs_BN[rows.index_B, step] = scores_BV.log_softmax(-1).gather(1, chosen_B[:, None])[:, 0]
        rows.ended_B |= torch.isin(chosen_B, end_ids)
        if rows.ended_B.all():
            break
        rows.advance(chosen_B)
    return tokens_BN, logprobs_BN


def choose(scores_BV: Tensor, sampling: Sampling, draws_B: Tensor) -> Tensor:
    """The next token of each row (B,): the likeliest, or that at the place `draws_B` of the cumulative distribution."""
    if sampling.temperature == 0:
        return scores_BV.argmax(-1)
    probabilities_BV = (scores_BV.double() / sampling.temperature).softmax(-1)
    if sampling.top_p < 1:
        probabilities_BV = _nucleus(probabilities_BV, sampling.top_p)
    cumulative_BV = probabilities_BV.cumsum(-1)
    places_B1 = draws_B.double()[:, None] * cumulative_BV[:, -1:]
    return torch.searchsorted(cumulative_BV, places_B1, right=True)[:, 0].clamp(max=scores_BV.shape[-1] - 1)


def _nucleus(probabilities_BV: Tensor, top_p: float) -> Tensor:
    """Probabilities with all but the likeliest tokens at 0: those that are needed to reach `top_p`."""
    descending_BV, order_BV = probabilities_BV.sort(-1, descending=True)
    descending_BV[descending_BV.cumsum(-1) - descending_BV >= top_p] = 0
    return torch.zeros_like(probabilities_BV).scatter(-1, order_BV, descending_BV)


def _begin(ids_BT: Tensor, attention_BT: Tensor, new_tokens: int, cache: DynamicCache) -> _Rows:
    """All rows, with room in the attention mask for what is to come."""
    attention_BL = torch.cat([attention_BT, attention_BT.new_ones(len(ids_BT), new_tokens)], dim=1)
    positions_BT = (attention_BT.cumsum(1) - 1).clamp(min=0)
    index_B = torch.arange(len(ids_BT), device=ids_BT.device)
    return _Rows(index_B, ids_BT, positions_BT, attention_BL, torch.zeros_like(index_B, dtype=torch.bool), cache)


def _scores(model: PreTrainedModel, rows: _Rows, length: int, cache: str) -> Tensor:
    """Logits (B, V) of the next token in fp32."""
    output = model(
        input_ids=rows.ids,
        attention_mask=rows.attention_BL[:, :length],
        position_ids=rows.positions,
        use_cache=True,
        logits_to_keep=1,
        **{cache: rows.cache},
    )
    scores_BV: Tensor = output.logits[:, -1].float()
    return scores_BV


def _cut(tokens: list[int], logprobs: list[float], ends: Sequence[int]) -> Written:
    """A row up to and including its first end token."""
    length = next((place + 1 for place, token in enumerate(tokens) if token in ends), len(tokens))
    return tuple(tokens[:length]), tuple(logprobs[:length])
