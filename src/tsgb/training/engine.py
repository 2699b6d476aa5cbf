"""Who computes the parts of a step: this process alone, or helpers beside it, with the same bits either way.

A helper process loads what the plan needs of the base model once and gets the examples; from then on only the adapter's
vector goes to it and a gradient comes back. Every process computes with one thread: two torch threads are slower than
one on a loaded machine.
"""

from __future__ import annotations

from concurrent.futures import BrokenExecutor, Future

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tsgb.errors import SettingsError
from tsgb.models.helpers import Helpers
from tsgb.models.loading import Base, add_adapter, load_base
from tsgb.training.plan import Strata, TrainingPlan
from tsgb.training.step import PartGradient, PartWorker
from tsgb.training.terms import needed_blocks

Remote = tuple[NDArray[np.float32], dict[str, float]]

_worker: PartWorker | None = None


class Engine:
    """Computes the gradients of a step's parts, in `processes` processes; close it to end the helpers."""

    def __init__(self, base: Base, name: str, plan: TrainingPlan, strata: Strata, *, processes: int = 1) -> None:
        torch.set_num_threads(1)
        self._parts, self._processes = plan.parts, min(processes, plan.parts)
        self._worker = PartWorker(base, name, plan, strata)
        self._pool = self._helpers(base, name, plan, strata) if self._processes > 1 else None

    def gradients(self, step: int, vector: Tensor) -> list[PartGradient]:
        """The step's parts in their fixed order."""
        remote = {part: self._ask(step, part, vector) for part in range(self._parts) if part % self._processes}
        own = {part: self._worker.gradient(step, part, vector) for part in range(self._parts) if part not in remote}
        return [own[part] if part in own else self._receive(remote[part]) for part in range(self._parts)]

    def close(self) -> None:
        """End the helper processes."""
        if self._pool is not None:
            self._pool.close()

    def _ask(self, step: int, part: int, vector: Tensor) -> Future[Remote]:
        assert self._pool is not None
        try:
            return self._pool.submit(_remote_gradient, step, part, vector.numpy())
        except BrokenExecutor as error:
            raise self._lost() from error

    def _receive(self, future: Future[Remote]) -> PartGradient:
        try:
            gradient, sums = future.result()
        except BrokenExecutor as error:
            raise self._lost() from error
        return PartGradient(torch.from_numpy(gradient), sums)

    def _lost(self) -> SettingsError:
        return SettingsError(
            f"One of the {self._processes} training processes was ended from outside, most likely for lack of memory; "
            "set run.processes to 1: the result is the same to the last bit."
        )

    def _helpers(self, base: Base, name: str, plan: TrainingPlan, strata: Strata) -> Helpers:
        if base.model.device.type != "cpu":
            raise SettingsError(
                f"{self._processes} processes were asked for but the model is on {base.model.device}; "
                "set run.processes to 1, one process uses such a device fully."
            )
        dtype = str(base.model.dtype).removeprefix("torch.")
        return Helpers(self._processes - 1, _open, base.name, dtype, name, plan, strata)


def fresh_adapter(base: Base, name: str, plan: TrainingPlan) -> None:
    """Add the adapter that a training by this plan starts from."""
    add_adapter(
        base,
        name,
        rank=plan.rank,
        alpha=plan.lora_alpha,
        layers=plan.adapter_layers,
        init_std=plan.init_std,
        seed=plan.seed,
    )


def _open(path: str, dtype: str, name: str, plan: TrainingPlan, strata: Strata) -> None:
    """Make this process a worker of its own."""
    global _worker
    base = load_base(path, dtype=dtype, blocks=needed_blocks(plan))
    fresh_adapter(base, name, plan)
    _worker = PartWorker(base, name, plan, strata)


def _remote_gradient(step: int, part: int, vector: NDArray[np.float32]) -> Remote:
    assert _worker is not None
    result = _worker.gradient(step, part, torch.from_numpy(vector))
    return result.gradient.numpy(), result.sums
