"""The engine on this machine: a frozen base of transformers, with the adapter that is asked for.

Promises: dialogues of similar length share a batch and come back in the order they were given; a dialogue's draws
depend on the seed and its place among the dialogues, not on how they are batched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tsgb.models.loading import Base, using
from tsgb.models.rendering import prompt
from tsgb.records.dialogue import Message
from tsgb.rollouts.engines.base import Completion, Sampling
from tsgb.rollouts.engines.decoding import Written, decode


class HFEngine:
    """Continues dialogues with one base, `batch_size` of them at a time."""

    def __init__(self, base: Base, *, batch_size: int = 96) -> None:
        self._base, self._batch_size = base, batch_size
        self._ends = _end_tokens(base)

    def complete(
        self,
        dialogues: Sequence[Sequence[Message]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        adapter: str | None,
        prefills: Sequence[str] | None = None,
        sampling: Sampling,
    ) -> list[Completion]:
        """One completion for each dialogue, in order, with its tokens and their log-probabilities."""
        if not dialogues:
            return []
        beginnings = prefills or [""] * len(dialogues)
        tokenizer = self._base.tokenizer
        texts = [prompt(tokenizer, *turn) for turn in zip(dialogues, [tools] * len(dialogues), beginnings, strict=True)]
        written = self._write(tokenizer(texts, add_special_tokens=False)["input_ids"], adapter, sampling)
        return [self._completion(*turn) for turn in zip(beginnings, written, strict=True)]

    def _write(self, prompts: Sequence[Sequence[int]], adapter: str | None, sampling: Sampling) -> list[Written]:
        """What follows each prompt; batches are made of prompts of similar length."""
        generator = torch.Generator().manual_seed(sampling.seed)
        draws_BN = torch.rand(len(prompts), sampling.max_new_tokens, generator=generator)
        by_length = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
        written: dict[int, Written] = {}
        with using(self._base, adapter) as model:
            for at in range(0, len(prompts), self._batch_size):
                rows = by_length[at : at + self._batch_size]
                batch = [prompts[row] for row in rows]
                ended = decode(model, batch, ends=self._ends, sampling=sampling, draws_BN=draws_BN[rows])
                written.update(zip(rows, ended, strict=True))
        return [written[row] for row in range(len(prompts))]

    def _completion(self, beginning: str, written: Written) -> Completion:
        tokens, logprobs = written
        said = tokens[:-1] if tokens[-1] in self._ends else tokens
        text = self._base.tokenizer.decode(list(said), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return Completion(text=beginning + str(text), token_ids=tokens, logprobs=logprobs)


def _end_tokens(base: Base) -> list[int]:
    """The tokenizer's end-of-turn token, and those that the model's own generation settings name."""
    generation = base.model.generation_config
    named = getattr(generation, "eos_token_id", None)
    ends = {base.tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}
    return sorted(ends - {None})
