"""A model cut above the blocks that a training reads: the rest is neither fetched nor kept.

Promises: layers keep their numbers and parameters their names, so an adapter fits the cut model and the whole one
alike; a hidden state that both have is the same to the bit. Of a sharded checkpoint only the files that hold a needed
tensor are fetched, or have to be in the folder. A cut model has no LM head and no final norm, and so a digest of its
own: what was trained on one is not resumed on the other.
Leaves out: what the rest is for: generating, logits, the last hidden state; asking for it is answered in one sentence.

For Llama-3-8B rerouted at layers 10 and 20 that is 20 of 32 blocks and the embedding, 9.8 GB of 16 in bf16.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging
from transformers.utils.hub import cached_file

from tsgb.errors import ModelError

INDEX = "model.safetensors.index.json"
BLOCK = re.compile(r"\.(\d+)\.")
"""The first number in the name of a tensor is that of its block."""
AFTER = re.compile(r"(?:^|\.)(?:norm|final_norm|final_layernorm|final_layer_norm|ln_f|lm_head)(?:\.[^.]+)?$")
"""Names of what comes after the blocks."""


class NoHead(nn.Module):
    """Stands where a cut model had its LM head."""

    def __init__(self, blocks: int, whole: int) -> None:
        super().__init__()
        self.blocks, self.whole = blocks, whole

    def forward(self, *args: object) -> NoReturn:
        """Raises `ModelError`, as there is nothing to compute with."""
        raise ModelError(
            f"The model was loaded without its LM head, as only {self.blocks} of its {self.whole} blocks were needed; "
            "set model.only_needed_blocks to false where it has to speak."
        )


def load_model(name: str, dtype: torch.dtype, blocks: int | None = None) -> PreTrainedModel:
    """A causal LM from a folder or hub id, whole, or cut to its first `blocks` if it has more."""
    whole = AutoConfig.from_pretrained(name)
    count = whole.get_text_config().num_hidden_layers
    if blocks is None or blocks >= count:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(name, dtype=dtype)
        return model
    config = _cut(whole, blocks)
    with _only_needed_files(name, config) as folder, _quiet():
        model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=dtype)
    model.config.name_or_path = name
    for after in [key for key, _ in model.base_model.named_children() if AFTER.search(key)]:
        setattr(model.base_model, after, nn.Identity())
    model.set_output_embeddings(NoHead(blocks, count))  # type: ignore[no-untyped-call]
    return model


def cut_from(model: PreTrainedModel) -> int | None:
    """How many blocks the model had before it was cut; None: it is whole."""
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    return head.whole if isinstance(head, NoHead) else None


def _cut(config: PreTrainedConfig, blocks: int) -> PreTrainedConfig:
    """The configuration of a model of fewer blocks; the head borrows the embedding until it is taken away."""
    text = config.get_text_config()
    count = text.num_hidden_layers
    for key, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == count:
            setattr(text, key, value[:blocks])
    text.num_hidden_layers = blocks
    config.tie_word_embeddings = text.tie_word_embeddings = True
    return config


@contextmanager
def _only_needed_files(name: str, config: PreTrainedConfig) -> Iterator[str]:
    """A place with those files of a sharded checkpoint that hold a needed tensor; else the checkpoint itself."""
    found = cached_file(name, INDEX, _raise_exceptions_for_missing_entries=False)
    if found is None:
        yield name
        return
    index = json.loads(Path(found).read_text(encoding="utf-8"))
    index["weight_map"] = _needed(index["weight_map"], config.get_text_config().num_hidden_layers)
    with TemporaryDirectory() as folder:
        for file in sorted(set(index["weight_map"].values())):
            Path(folder, file).symlink_to(Path(str(cached_file(name, file))).resolve())
        Path(folder, INDEX).write_text(json.dumps(index), encoding="utf-8")
        config.save_pretrained(folder)
        yield folder


def _needed(weight_map: Mapping[str, str], blocks: int) -> dict[str, str]:
    return {key: file for key, file in weight_map.items() if _is_needed(key, blocks)}


def _is_needed(key: str, blocks: int) -> bool:
    number = BLOCK.search(key)
    return int(number[1]) < blocks if number else not AFTER.search(key)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from listing the tensors that are missing on purpose."""
    utils: Any = logging
    before = utils.get_verbosity()
    utils.set_verbosity_error()
    try:
        yield
    finally:
        utils.set_verbosity(before)
