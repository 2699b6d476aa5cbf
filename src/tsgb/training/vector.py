"""An adapter as one flat fp32 vector, so that optimizer, processes and files all handle a single tensor.

Parameters stand in the order of their names as PEFT stores them, without the adapter's own name: a file of them is a
valid `adapter_model.safetensors`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tsgb.errors import InputError
from tsgb.models.loading import Base, adapter_parameters


class AdapterVector:
    """Reads and writes the parameters of one adapter, and collects their gradients; vectors live on the CPU."""

    def __init__(self, base: Base, name: str) -> None:
        self._parameters = adapter_parameters(base, name)
        self._sizes = [parameter.numel() for parameter in self._parameters.values()]

    def read(self) -> Tensor:
        """The adapter as it is now, as a copy of shape (parameters,)."""
        return torch.cat([parameter.detach().reshape(-1).float().cpu() for parameter in self._parameters.values()])

    @torch.no_grad()
    def write(self, vector: Tensor) -> None:
        """Put a vector's values into the adapter."""
        for parameter, values in zip(self._parameters.values(), torch.split(vector, self._sizes), strict=True):
            parameter.copy_(values.view_as(parameter))

    def take_gradient(self) -> Tensor:
        """The gradients gathered since the last call, as a vector; they start at zero again."""
        pieces = []
        for parameter in self._parameters.values():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            pieces.append(gradient.reshape(-1).float().cpu())
            parameter.grad = None
        return torch.cat(pieces)

    def named(self, vector: Tensor) -> dict[str, Tensor]:
        """A vector as tensors by PEFT's names; they share its memory."""
        pieces = zip(self._parameters.items(), torch.split(vector, self._sizes), strict=True)
        return {name: values.view_as(parameter) for (name, parameter), values in pieces}

    def flat(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The inverse of `named`; raises `InputError` when names or shapes are those of another adapter."""
        shapes = {name: parameter.shape for name, parameter in self._parameters.items()}
        if shapes != {name: tensor.shape for name, tensor in tensors.items()}:
            differing = sorted(set(shapes.items()) ^ {(name, tensor.shape) for name, tensor in tensors.items()})
            raise InputError(
                f"These tensors are no state of this adapter: {differing[0][0]!r} is missing or has another shape; "
                "train with the rank and blocks they were made with."
            )
        return torch.cat([tensors[name].reshape(-1).float() for name in self._parameters])
