"""Raise a surrogate from a seed: tokenizer, two stages of training, half-precision weights, and a log of how it went.

The whole build is a pure function of its recipe (one thread, fp32), so that anybody can rebuild the shipped model's
first steps and see the same losses.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from tsgb.models.loading import weights_digest
from tsgb.models.rendering import Encoded, encode
from tsgb.surrogate.corpus import draw_dialogue, sample_texts
from tsgb.surrogate.muon import Muon
from tsgb.surrogate.tokenizer import train_tokenizer

MICRO_BATCHES = 4


@dataclass(frozen=True)
class Recipe:
    """Everything a surrogate depends on."""

    seed: int = 0
    layers: int = 4
    hidden: int = 128
    heads: int = 4
    mlp: int = 384
    vocabulary: int = 1024
    copy_steps: int = 60
    helpful_steps: int = 1500
    refusal_steps: int = 240
    batch: int = 32
    matrix_rate: float = 4e-3
    vector_rate: float = 6e-3

    @property
    def steps(self) -> int:
        """All optimizer steps."""
        return self.copy_steps + self.helpful_steps + self.refusal_steps

    def stage(self, step: int) -> int:
        """Which mixture a step draws from."""
        return 0 if step < self.copy_steps and step % 2 else 1 if step < self.copy_steps + self.helpful_steps else 2


RECIPES: dict[str, Recipe] = {
    "default": Recipe(),
    "small": Recipe(layers=3, hidden=96, mlp=256, vocabulary=768),
    "black-box": Recipe(seed=77, layers=3, hidden=160, heads=5, mlp=448),
}
"""Surrogates by name: the shipped one, a smaller one, and one of other shape, seed and tokenizer that nobody trains."""


@dataclass(frozen=True)
class StepLog:
    """How one step went."""

    step: int
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Sums:
    """What a micro-batch adds to a step: summed loss, its weight, and how many of the spoken tokens were right."""

    loss: float
    weight: float
    right: int
    spoken: int


class Build:
    """A surrogate in the making: call `steps()` to the end, then `save`."""

    def __init__(self, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.tokenizer = train_tokenizer(
            sample_texts(Random(f"texts/{recipe.seed}"), 3000), vocabulary=recipe.vocabulary
        )
        self.model = LlamaForCausalLM(_config(recipe, self.tokenizer))
        matrices = [weight for name, weight in self.model.model.layers.named_parameters() if weight.ndim == 2]
        chosen = {id(weight) for weight in matrices}
        vectors = [weight for weight in self.model.parameters() if id(weight) not in chosen]
        self.muon = Muon(matrices)
        self.adam = torch.optim.AdamW(vectors, lr=0.0, betas=(0.9, 0.99), weight_decay=0.0)
        self.rng = Random(f"corpus/{recipe.seed}")
        self.log: list[StepLog] = []

    def steps(self) -> Iterator[StepLog]:
        """Train to the end, a log entry each step."""
        self.model.train()
        for step in range(len(self.log), self.recipe.steps):
            self.log.append(self._step(step))
            yield self.log[-1]

    def _step(self, step: int) -> StepLog:
        scale = rate_scale(step, self.recipe)
        self.muon.learning_rate = self.recipe.matrix_rate * scale
        self.adam.param_groups[0]["lr"] = self.recipe.vector_rate * scale
        self.model.zero_grad()
        loss, accuracy = self._backward(self._dialogues(self.recipe.stage(step)))
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.muon.step()
        self.adam.step()
        return StepLog(step, round(loss, 5), round(accuracy, 4))

    def _dialogues(self, stage: int) -> list[Encoded]:
        drawn = (encode(self.tokenizer, draw_dialogue(self.rng, stage)) for _ in range(self.recipe.batch))
        return sorted(drawn, key=lambda item: len(item.ids))

    def _backward(self, dialogues: list[Encoded]) -> tuple[float, float]:
        """Accumulate the gradient of the weighted mean loss, a quarter of the length-sorted dialogues at a time."""
        size = max(1, len(dialogues) // MICRO_BATCHES)
        parts = [self._sums(dialogues[at : at + size]) for at in range(0, len(dialogues), size)]
        weight = sum(part.weight for part in parts)
        for parameter in self.model.parameters():
            parameter.grad = None if parameter.grad is None else parameter.grad / weight
        return sum(part.loss for part in parts) / weight, sum(part.right for part in parts) / sum(
            part.spoken for part in parts
        )

    def _sums(self, dialogues: list[Encoded]) -> Sums:
        ids, weights, spoken = _padded(dialogues, int(self.tokenizer.pad_token_id or 0))
        logits = self.model(input_ids=ids).logits[:, :-1]
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        loss = (losses * weights[:, 1:].flatten()).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        right = (logits.argmax(-1) == ids[:, 1:])[spoken[:, 1:]]
        return Sums(loss.item(), float(weights[:, 1:].sum()), int(right.sum()), right.numel())

    def save(self, folder: Path) -> None:
        """Write weights (fp16), configuration, tokenizer and `build.json` into a folder."""
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self.model.half().save_pretrained(folder)  # type: ignore[no-untyped-call]
        self.tokenizer.save_pretrained(folder)
        log = [asdict(entry) for entry in self.log if entry.step < 20 or entry.step % 20 == 0]
        about = {"recipe": asdict(self.recipe), "digest": weights_digest(self.model), "log": log}
        (folder / "build.json").write_text(json.dumps(about, indent=1) + "\n")


def build_surrogate(recipe: Recipe, folder: Path, on_step: Callable[[StepLog], None] = lambda entry: None) -> None:
    """Build a surrogate whole into a folder, telling `on_step` of each optimizer step."""
    torch.set_num_threads(1)
    build = Build(recipe)
    for entry in build.steps():
        on_step(entry)
    build.save(folder)


def rate_scale(step: int, recipe: Recipe) -> float:
    """Warm-up over 20 steps, constant to the half, down to a tenth, then .4 of the peak falling for refusal tuning."""
    helpful = recipe.copy_steps + recipe.helpful_steps
    if step >= helpful:
        return 0.4 * (1 - (step - helpful) / max(1, recipe.refusal_steps)) + 0.02
    progress = step / max(1, helpful)
    return min(1.0, (step + 1) / 20) * (1.0 if progress < 0.5 else 1.0 - 0.9 * (progress - 0.5) / 0.5)


def _padded(dialogues: list[Encoded], pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, loss weights (1 where the assistant speaks, .1 elsewhere), spoken mask; (batch, tokens) each."""
    ids = torch.full((len(dialogues), max(len(item.ids) for item in dialogues)), pad)
    weights, spoken = torch.zeros(ids.shape), torch.zeros(ids.shape, dtype=torch.bool)
    for row, item in enumerate(dialogues):
        ids[row, : len(item.ids)] = torch.tensor(item.ids)
        weights[row, : len(item.ids)] = 0.1
        for span in item.spans:
            spoken[row, span.body_start : span.end] |= span.body_start > span.start
    return ids, weights.masked_fill(spoken, 1.0), spoken


def _config(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.mlp,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
