"""Reading and writing what a DeepSpeed engine holds in pieces, as whole tensors by parameter.

Promises: what is read at one stage and world size can be written at any other, to the last bit. Four things have to be
written, and each alone changes a resumed training if it is left out: the group's learning rate, the working copy that
the model computes with, AdamW's step, and the seed of random numbers (`ZeroOptimizer.load` does all four).
Leaves out: offloading, and parameters of several groups.

With DeepSpeed 0.19.8 `safe_set_full_*` fails at stage 3 where a parameter's size is no multiple of the world's, so each
rank writes its own padded piece. Optimizer states do not exist before the first step and are made here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tsgb.training.world import World
from tsgb.training.zero_door import deepspeed

Moment = Literal["exp_avg", "exp_avg_sq"]


class Pieces(ABC):
    """A DeepSpeed engine's parameters, one way per kind of stage."""

    def __init__(self, engine: Any, world: World) -> None:
        self._engine, self._world = engine, world
        self.parameters: list[nn.Parameter] = list(engine.module.parameters())

    @property
    def adamw(self) -> torch.optim.AdamW:
        """The optimizer that takes the steps, on whatever flat tensors the stage gave it."""
        optimizer: torch.optim.AdamW = self._engine.optimizer.optimizer
        return optimizer

    @property
    def learning_rate(self) -> float:
        """Learning rate of the one group."""
        return float(self.adamw.param_groups[0]["lr"])

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self.adamw.param_groups[0]["lr"] = rate

    @property
    def adam_steps(self) -> int:
        """Steps by which AdamW corrects the bias of its moments."""
        return int(self.adamw.state[self._flats()[0]]["step"])

    def make_states(self, adam_steps: int) -> None:
        """Have moments where there are none yet, and set AdamW's step."""
        for flat in self._flats():
            state = self.adamw.state[flat]
            for moment in ("exp_avg", "exp_avg_sq"):
                state.setdefault(moment, torch.zeros_like(flat))
            state["step"] = torch.tensor(float(adam_steps))

    def masters(self) -> list[Tensor]:
        """Copies of the fp32 values; every rank has to ask."""
        return [deepspeed().utils.safe_get_full_fp32_param(each).cpu() for each in self.parameters]

    def moments(self, moment: Moment) -> list[Tensor]:
        """Copies of a moment; every rank has to ask."""
        return [deepspeed().utils.safe_get_full_optimizer_state(each, moment).cpu() for each in self.parameters]

    @abstractmethod
    def _flats(self) -> Sequence[Tensor]:
        """The tensors that AdamW steps on this rank."""

    @abstractmethod
    def write_masters(self, values: Sequence[Tensor]) -> None:
        """Set the fp32 values."""

    @abstractmethod
    def write_moments(self, moment: Moment, values: Sequence[Tensor]) -> None:
        """Set a moment."""

    @abstractmethod
    def write_gradients(self, values: Sequence[Tensor]) -> None:
        """Replace the gradients of the backward pass that has just been."""

    def working(self) -> list[Tensor]:
        """Copies in fp32 of what the model computes with."""
        return [parameter.detach().float().cpu().clone() for parameter in self.parameters]

    def write_working(self, values: Sequence[Tensor]) -> None:
        """Set what the model computes with."""
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.data.copy_(value)


class Whole(Pieces):
    """Stage 0: every rank holds everything, and the fp32 values are what the model computes with."""

    @property
    def adamw(self) -> torch.optim.AdamW:
        """The client's optimizer itself."""
        optimizer: torch.optim.AdamW = self._engine.optimizer
        return optimizer

    def masters(self) -> list[Tensor]:
        """Copies of the fp32 values."""
        return self.working()

    def moments(self, moment: Moment) -> list[Tensor]:
        """Copies of a moment."""
        return [self.adamw.state[parameter][moment].cpu().clone() for parameter in self.parameters]

    def _flats(self) -> Sequence[Tensor]:
        return self.parameters

    def write_masters(self, values: Sequence[Tensor]) -> None:
        """Set the fp32 values."""
        self.write_working(values)

    def write_moments(self, moment: Moment, values: Sequence[Tensor]) -> None:
        """Set a moment."""
        for parameter, value in zip(self.parameters, values, strict=True):
            self.adamw.state[parameter][moment].copy_(value)

    def write_gradients(self, values: Sequence[Tensor]) -> None:
        """Replace the gradients."""
        for parameter, value in zip(self.parameters, values, strict=True):
            deepspeed().utils.safe_set_full_grad(parameter, value.to(parameter.device))


class Flat(Pieces):
    """Stages 1 and 2: each rank holds a stretch of the flattened fp32 values and moments."""

    def make_states(self, adam_steps: int) -> None:
        """As for all stages, and show DeepSpeed where the moments are."""
        super().make_states(adam_steps)
        self._engine.optimizer._lazy_init_hp_params_optimizer_state()

    def _flats(self) -> Sequence[Tensor]:
        flats: Sequence[Tensor] = self._engine.optimizer.single_partition_of_fp32_groups
        return flats

    def write_masters(self, values: Sequence[Tensor]) -> None:
        """Set this rank's stretch of the fp32 values."""
        for parameter, value in zip(self.parameters, values, strict=True):
            deepspeed().utils.safe_set_full_fp32_param(parameter, value)

    def write_moments(self, moment: Moment, values: Sequence[Tensor]) -> None:
        """Set this rank's stretch of a moment."""
        for parameter, value in zip(self.parameters, values, strict=True):
            deepspeed().utils.safe_set_full_optimizer_state(parameter, value, moment)

    def write_gradients(self, values: Sequence[Tensor]) -> None:
        """Replace this rank's stretch of the gradients."""
        for parameter, value in zip(self.parameters, values, strict=True):
            deepspeed().utils.safe_set_full_grad(parameter, value.to(parameter.device))


class Partitioned(Pieces):
    """Stage 3: each rank holds a padded piece of every parameter."""

    def _flats(self) -> Sequence[Tensor]:
        flats: Sequence[Tensor] = self._engine.optimizer.fp32_partitioned_groups_flat
        return flats

    def write_masters(self, values: Sequence[Tensor]) -> None:
        """Set this rank's pieces of the fp32 values."""
        for parameter, value in zip(self.parameters, values, strict=True):
            deepspeed().utils.safe_set_local_fp32_param(parameter, self._piece(parameter, value))

    def write_moments(self, moment: Moment, values: Sequence[Tensor]) -> None:
        """Set this rank's pieces of a moment."""
        for parameter, value in zip(self.parameters, values, strict=True):
            deepspeed().utils.safe_set_local_optimizer_state(parameter, self._piece(parameter, value), moment)

    def write_gradients(self, values: Sequence[Tensor]) -> None:
        """Replace this rank's pieces of the gradients."""
        for parameter, value in zip(self.parameters, values, strict=True):
            deepspeed().utils.safe_set_local_grad(parameter, self._piece(parameter, value))

    def working(self) -> list[Tensor]:
        """Copies in fp32 of what the model computes with; every rank has to ask."""
        with deepspeed().zero.GatheredParameters(self.parameters):
            return super().working()

    def write_working(self, values: Sequence[Tensor]) -> None:
        """Set what the model computes with; every rank has to ask."""
        with deepspeed().zero.GatheredParameters(self.parameters, modifier_rank=0):
            if self._world.rank == 0:
                super().write_working(values)

    def _piece(self, parameter: Any, value: Tensor) -> Tensor:
        """What of a whole tensor this rank holds, padded with zeros at the end of the last."""
        width = parameter.ds_tensor.numel()
        padded = nn.functional.pad(value.reshape(-1), (0, self._world.size * width - value.numel()))
        return padded.narrow(0, self._world.rank * width, width)


def pieces(stage: int, engine: Any, world: World) -> Pieces:
    """The way to read and write an engine of a ZeRO stage."""
    kind = (Whole, Flat, Flat, Partitioned)[stage]
    return kind(engine, world)
