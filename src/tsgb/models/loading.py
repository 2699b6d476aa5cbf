"""One frozen base and its adapters: how they are loaded, made, chosen and stored.

Promises: the base never changes (evaluation mode, no gradients), and outside `using`, or with `using(base, None)`, it
computes bit for bit what it computes without adapters; it refuses to read beyond its context; a fresh adapter is a pure
function of its arguments; adapters are kept in fp32 and stored as PEFT stores them. The adapter in use is the one whose
parameters take gradients.
Leaves out: adapters that are more than plain LoRA, and quantised bases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from tsgb.errors import ModelError
from tsgb.models.trunk import load_model

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What PEFT puts before the name of every stored parameter."""


@dataclass(frozen=True)
class Base:
    """A frozen model with its tokenizer, the name it was asked for by, the digest of its weights, and its adapters."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    digest: str
    adapters: dict[str, LoraConfig] = field(default_factory=dict)


def load_base(
    path_or_id: str | Path, *, dtype: str = "float32", device: str = "cpu", blocks: int | None = None
) -> Base:
    """Load a causal language model and its tokenizer from a folder or a hub id; raises `ModelError` if it is none.

    With `blocks` no more than the first so many are loaded (`models.trunk`): enough to train, not to generate.
    """
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    name = str(path_or_id)
    try:
        model = load_model(name, _dtype(dtype), blocks)
        tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
    except (OSError, ValueError, SafetensorError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(
            f"No causal language model could be loaded from {name!r} ({_reason(error)}); "
            "give a folder written by save_pretrained, or a hub id."
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.requires_grad_(False).train(False).to(device)
    model.register_forward_pre_hook(_within_context, with_kwargs=True)
    return Base(model, tokenizer, name, weights_digest(model))


def _within_context(model: PreTrainedModel, args: tuple[Any, ...], inputs: dict[str, Any]) -> None:
    """Refuse a position that the model was never made for: where it knows none, its words would be noise."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    positions = inputs.get("position_ids")
    if limit is None or positions is None or (last := int(positions.max())) < limit:
        return
    raise ModelError(
        f"A dialogue has come to {last + 1} tokens, and {model.config.name_or_path!r} reads {limit}; "
        "bring a model with a longer context, or lower rollout.max_turns."
    )


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of a model's weights: the same wherever they were stored."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def add_adapter(
    base: Base, name: str, *, rank: int, alpha: float, layers: Sequence[int], init_std: float = 0.0, seed: int = 0
) -> None:
    """Give the base a fresh LoRA on all linear modules of blocks `layers` (from 0), replacing any adapter of that name.

    A is uniform in ±1/√inputs (PEFT's own choice), B normal with deviation `init_std`: at 0 it begins as the base.
    """
    pattern, modules = linear_modules(base.model, layers)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # PEFT takes fractions as well
        target_modules=modules,
        layers_to_transform=sorted(layers),
        layers_pattern=pattern,
        task_type="CAUSAL_LM",
    )
    _inject(base, name, config)
    generator = torch.Generator().manual_seed(seed)
    for key, parameter in adapter_parameters(base, name).items():
        values = torch.empty(parameter.shape)
        if ".lora_A." in key:
            values.uniform_(-(parameter.shape[1] ** -0.5), parameter.shape[1] ** -0.5, generator=generator)
        else:
            values.normal_(0.0, init_std, generator=generator)
        parameter.data.copy_(values)


def load_adapter(base: Base, name: str, path: str | Path) -> None:
    """Give the base a LoRA from a folder as PEFT stores it, replacing any adapter of that name."""
    folder = Path(path)
    try:
        config = PeftConfig.from_pretrained(str(folder)) if folder.is_dir() else None
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(
            f"There is no adapter in {str(folder)!r} ({_reason(error)}); "
            f"it needs adapter_config.json and {WEIGHTS} as PEFT stores them."
        ) from error
    if not isinstance(config, LoraConfig):
        raise ModelError(f"The adapter in {str(folder)!r} is no LoRA; only plain LoRA adapters can be used.")
    _inject(base, name, config)
    _fill(base, name, tensors, folder)


def save_adapter(base: Base, name: str, path: str | Path) -> None:
    """Store an adapter in a folder as PEFT does, with the same bytes for the same values."""
    _require(base, name)
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    config = copy(base.adapters[name])
    if isinstance(config.target_modules, set):  # whose order differs from process to process
        config.target_modules = sorted(config.target_modules)
    config.save_pretrained(str(folder))
    tensors = {key: parameter.detach().cpu().contiguous() for key, parameter in adapter_parameters(base, name).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def adapter_parameters(base: Base, name: str) -> dict[str, nn.Parameter]:
    """An adapter's parameters by the names PEFT stores them under, in the order of these names."""
    infix = f".{name}.weight"
    found = {
        PREFIX + key.removesuffix(infix) + ".weight": parameter
        for key, parameter in base.model.named_parameters()
        if ".lora_" in key and key.endswith(infix)
    }
    return dict(sorted(found.items()))


@contextmanager
def using(base: Base, name: str | None) -> Iterator[PreTrainedModel]:
    """The model with one adapter in use (None: the frozen base), until the block ends; blocks may be nested."""
    if name is not None:
        _require(base, name)
    layers = _lora_layers(base)
    before = _selected(layers)
    _select(layers, name)
    try:
        yield base.model
    finally:
        _select(layers, before)


def find_blocks(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """The name and list of a model's decoder blocks; raises `ModelError` when it keeps them in no list."""
    count = model.config.get_text_config().num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return name, module
    raise ModelError(f"{type(model).__name__} keeps its {count} blocks in no list; bring a decoder built like Llama's.")


def _reason(error: Exception) -> str:
    """What a library said, as a part of one sentence."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ModelError(f"{name!r} is no type a model can have: choose float32, bfloat16 or float16.")
    return dtype


def linear_modules(model: PreTrainedModel, layers: Sequence[int]) -> tuple[str, list[str]]:
    """What the list of blocks is called, and the names of linear modules in it; ModelError: no block for a layer."""
    name, blocks = find_blocks(model)
    if not layers or not all(0 <= layer < len(blocks) for layer in layers):
        raise ModelError(
            f"Blocks {list(layers)} cannot carry an adapter: "
            f"the model has blocks 0 to {len(blocks) - 1}; choose among them."
        )
    linear = {
        key.removesuffix(".base_layer").rpartition(".")[2]
        for key, module in blocks.named_modules()
        if isinstance(module, nn.Linear) and ".lora_" not in key
    }
    return name.rpartition(".")[2], sorted(linear)


def _inject(base: Base, name: str, config: LoraConfig) -> None:
    """Put an adapter into the model: switched off, in fp32, and leaving the caller's random numbers alone."""
    for module in _lora_layers(base):
        module.set_adapter([])
        module.delete_adapter(name)
    config.inference_mode = True
    config.base_model_name_or_path = base.name
    with torch.random.fork_rng():
        inject_adapter_in_model(config, base.model, name)
    del base.model.peft_config  # one configuration, of many adapters: `base.adapters` holds them all
    base.adapters[name] = config
    for parameter in adapter_parameters(base, name).values():
        parameter.data = parameter.data.float()
    base.model.train(False)
    _select(_lora_layers(base), None)


def _fill(base: Base, name: str, tensors: dict[str, Tensor], folder: Path) -> None:
    parameters = adapter_parameters(base, name)
    shapes = {key: tensor.shape for key, tensor in tensors.items()}
    expected = {key: parameter.shape for key, parameter in parameters.items()}
    if wrong := sorted(key for key, _ in shapes.items() ^ expected.items()):
        raise ModelError(
            f"The adapter in {str(folder)!r} does not fit {base.name!r}: {wrong[0]!r} is missing, unknown or of "
            "another shape; bring a plain LoRA made for this base."
        )
    for key, parameter in parameters.items():
        parameter.data.copy_(tensors[key])


def _require(base: Base, name: str) -> None:
    if name not in base.adapters:
        raise ModelError(
            f"{base.name!r} has no adapter {name!r}; it has {sorted(base.adapters) or 'none'}: load it first."
        )


def _lora_layers(base: Base) -> list[BaseTunerLayer]:
    return [module for module in base.model.modules() if isinstance(module, BaseTunerLayer)]


def _selected(layers: Sequence[BaseTunerLayer]) -> str | None:
    if not layers or layers[0].disable_adapters:
        return None
    return str(layers[0].active_adapters[0])


def _select(layers: Sequence[BaseTunerLayer], name: str | None) -> None:
    for layer in layers:
        layer.enable_adapters(name is not None)
        if name is not None:
            layer.set_adapter(name)
