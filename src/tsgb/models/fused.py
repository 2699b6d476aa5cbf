"""LoRA in fewer and smaller pieces: one autograd node for all modules that read the same tensor.

    fused = FusedLora(base, "guard")
    with using(base, "guard"), fused.on(): ...

Promises: outputs and gradients are those of PEFT's own modules but for rounding; parameters stay PEFT's, under PEFT's
names; with the adapter off, or with tensors of which nobody wants a gradient, it computes the same; outside the block
PEFT's code runs. Of each module only its input, shared with its siblings, and rank numbers a token are kept for the
backward pass, where PEFT keeps more and multiplies whole outputs by LoRA's scale.
Leaves out: dropout, which is refused, and everything that is more than plain LoRA on `nn.Linear`. On a base of half
precision LoRA's products are of half precision too, where PEFT's are fp32; its parameters and their gradients are fp32.

Shapes: N tokens, I inputs, O outputs of one module, R rank, S siblings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear
from torch import Tensor, nn

from tsgb.errors import ModelError
from tsgb.models.loading import Base


class FusedLora:
    """One adapter's modules in groups of siblings, found by watching the model read one token."""

    def __init__(self, base: Base, name: str) -> None:
        self._groups = [_Group(modules, name) for modules in _siblings(base)]

    @contextmanager
    def on(self) -> Iterator[None]:
        """Until the block ends, the adapter's modules compute together."""
        for group in self._groups:
            group.take_over()
        try:
            yield
        finally:
            for group in self._groups:
                group.give_back()


class _Group:
    """LoRA modules that read the same tensor: the first to be called computes for all."""

    def __init__(self, modules: Sequence[Linear], name: str) -> None:
        self._modules, self._name = modules, name
        self._input: Tensor | None = None
        self._outputs: dict[int, Tensor] = {}

    def take_over(self) -> None:
        for place, module in enumerate(self._modules):
            if not isinstance(module.lora_dropout[self._name], nn.Identity):
                raise ModelError("Fused LoRA has no dropout: set the dropout to 0, or breaker.fused_lora to false.")
            module.forward = partial(self._forward, place)  # type: ignore[method-assign]

    def give_back(self) -> None:
        self._input, self._outputs = None, {}
        for module in self._modules:
            del module.forward

    def _forward(self, place: int, values: Tensor) -> Tensor:
        module = self._modules[place]
        if module.disable_adapters:
            base = _base(module)
            return F.linear(values, base.weight, base.bias)
        if module.active_adapters != [self._name]:
            return type(module).forward(module, values)
        if values is not self._input or place not in self._outputs:
            self._input, self._outputs = values, dict(enumerate(self._together(values)))
        output = self._outputs.pop(place)
        if not self._outputs:
            self._input = None
        return output

    def _together(self, values: Tensor) -> Sequence[Tensor]:
        scales = [module.scaling[self._name] for module in self._modules]
        tensors: list[Tensor | None] = []
        for module in self._modules:
            down, up = (_linear(pair[self._name]).weight for pair in (module.lora_A, module.lora_B))
            tensors += [_base(module).weight, _base(module).bias, down, up]
        outputs: Sequence[Tensor] = _Lora.apply(values, scales, *tensors)  # type: ignore[no-untyped-call]
        return outputs


class _Lora(torch.autograd.Function):
    """x ↦ x·Wᵀ + b + s·(x·Aᵀ)·Bᵀ for every sibling, given as W, b, A, B."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scales: Sequence[float], *tensors: Tensor) -> tuple[Tensor, ...]:
        weights, biases, downs, ups = (tensors[start::4] for start in range(4))
        flat_NI = values.reshape(-1, values.shape[-1])
        downs_SRI = torch.cat([down.to(values.dtype) for down in downs])
        small_NSR = flat_NI @ downs_SRI.T
        scaled = [(up * scale).to(values.dtype) for up, scale in zip(ups, scales, strict=True)]
        outputs = [
            F.linear(flat_NI, weight, bias).addmm_(small_NR, up_OR.T)
            for weight, bias, small_NR, up_OR in zip(weights, biases, _split(small_NSR, ups), scaled, strict=True)
        ]
        ctx.save_for_backward(flat_NI, small_NSR, downs_SRI, *weights, *scaled)
        ctx.scales, ctx.shape, ctx.kinds = scales, values.shape, (downs[0].dtype, ups[0].dtype)
        return tuple(output.view(*values.shape[:-1], -1) for output in outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        flat_NI, small_NSR, downs_SRI, *rest = ctx.saved_tensors
        weights, scaled = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        flats = [gradient.reshape(flat_NI.shape[0], -1) for gradient in gradients]
        smalls = torch.cat([flat @ up for flat, up in zip(flats, scaled, strict=True)], dim=1)
        down_kind, up_kind = ctx.kinds
        downs = _split((smalls.T @ flat_NI).to(down_kind), scaled, dim=0)
        ups = [  # of the two ways to multiply a tall matrix with a thin one, the faster
            (small_NR.T @ flat).T.to(up_kind) * scale
            for flat, small_NR, scale in zip(flats, _split(small_NSR, scaled), ctx.scales, strict=True)
        ]
        values = None
        if ctx.needs_input_grad[0]:
            values = smalls @ downs_SRI
            for flat, weight in zip(flats, weights, strict=True):
                values.addmm_(flat, weight)
            values = values.view(ctx.shape)
        pairs = ((None, None, down, up) for down, up in zip(downs, ups, strict=True))
        return values, None, *(tensor for four in pairs for tensor in four)


def _split(together: Tensor, ups_OR: Sequence[Tensor], dim: int = 1) -> Sequence[Tensor]:
    """Each sibling's columns or rows: as many as its rank."""
    return torch.split(together, [up.shape[1] for up in ups_OR], dim=dim)


def _base(module: Linear) -> nn.Linear:
    return _linear(module.get_base_layer())


def _linear(module: nn.Module) -> nn.Linear:
    assert isinstance(module, nn.Linear)
    return module


def _siblings(base: Base) -> list[list[Linear]]:
    """Modules of one parent that are given the very same tensor."""
    given: defaultdict[tuple[str, int], list[Linear]] = defaultdict(list)
    kept: list[Tensor] = []

    def note(parent: str, module: Linear, inputs: tuple[Tensor, ...]) -> None:
        kept.append(inputs[0])  # so that no other tensor gets its id
        given[parent, id(inputs[0])].append(module)

    hooks = [
        module.register_forward_pre_hook(partial(note, name.rpartition(".")[0]))
        for name, module in base.model.named_modules()
        if isinstance(module, Linear)
    ]
    with torch.no_grad():
        base.model.base_model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=base.model.device), use_cache=False)
    for hook in hooks:
        hook.remove()
    return list(given.values())
