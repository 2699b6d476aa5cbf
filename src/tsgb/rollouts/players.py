"""Episodes spread over processes: two torch processes of one thread each beat one process of two threads.

Scenarios are cut into chunks of fixed size and a chunk's outcome depends on nothing else, so the trajectories are
the same whatever the number of processes. Chunk 0 is played here, chunk 1 by the first helper, and so on in turn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from tsgb.environments.registry import environment
from tsgb.errors import SettingsError
from tsgb.models.helpers import Helpers
from tsgb.models.loading import Base, load_adapter, load_base
from tsgb.records.dialogue import Scenario, Trajectory
from tsgb.rollouts.engines.base import Sampling
from tsgb.rollouts.engines.hf import HFEngine
from tsgb.rollouts.play import play

CHUNK = 64
"""Episodes played together; what an episode does depends on its chunk and on nothing else."""


@dataclass(frozen=True)
class Target:
    """Who plays: the base, or the base with the adapter in a folder. A folder never changes."""

    name: str = "base"
    folder: Path | None = None


BASE = Target()
"""The frozen base, no adapter."""
Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Stage:
    """Where episodes are played: everything a helper process needs to know."""

    model: str
    dtype: str = "float32"
    environment: str = "office"
    max_turns: int = 6
    batch_size: int = 96
    max_new_tokens: int = 56


class Players:
    """Plays scenarios with this process and `processes - 1` helpers; a context manager that ends them."""

    def __init__(self, stage: Stage, *, processes: int = 1, tell: Tell = lambda done, total: None) -> None:
        torch.set_num_threads(1)
        self.stage, self.helpers, self.tell = stage, processes - 1, tell
        self._pool: Helpers | None = None

    @property
    def engine(self) -> HFEngine:
        """This process's own engine."""
        return _engine(self.stage)

    @property
    def base(self) -> Base:
        """This process's own frozen base."""
        return _base(self.stage.model, self.stage.dtype)

    def play(self, scenarios: Sequence[Scenario], target: Target = BASE, tell: Tell | None = None) -> list[Trajectory]:
        """One judged trajectory for each scenario, in order; `tell` hears how many of how many are done."""
        tell = tell or self.tell
        chunks = [scenarios[at : at + CHUNK] for at in range(0, len(scenarios), CHUNK)]
        sent = {index: self._send(chunk, target) for index, chunk in enumerate(chunks) if index % (self.helpers + 1)}
        played: list[Trajectory] = []
        for index, chunk in enumerate(chunks):
            played += self._receive(sent[index]) if index in sent else play_chunk(self.stage, chunk, target)
            tell(len(played), len(scenarios))
        return played

    def _send(self, chunk: Sequence[Scenario], target: Target) -> Future[list[Trajectory]]:
        if self._pool is None:
            self._pool = Helpers(self.helpers)
        try:
            return self._pool.submit(play_chunk, self.stage, chunk, target)
        except BrokenExecutor as error:
            raise self._lost() from error

    def _receive(self, played: Future[list[Trajectory]]) -> list[Trajectory]:
        try:
            return played.result()
        except BrokenExecutor as error:
            raise self._lost() from error

    def _lost(self) -> SettingsError:
        return SettingsError(
            f"One of the {self.helpers + 1} playing processes was ended from outside, most likely for lack of memory; "
            "set run.processes to 1: the result is the same to the last bit."
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.close()


def play_chunk(stage: Stage, scenarios: Sequence[Scenario], target: Target) -> list[Trajectory]:
    """Play a chunk in this process, whose base and adapters stay loaded."""
    adapter = _adapter(stage.model, stage.dtype, target.name, target.folder) if target.folder else None
    trajectories = play(
        _engine(stage),
        environment(stage.environment),
        scenarios,
        adapter=adapter,
        sampling=Sampling(max_new_tokens=stage.max_new_tokens),
        max_turns=stage.max_turns,
    )
    return [trajectory.model_copy(update={"target": target.name}) for trajectory in trajectories]


@cache
def _base(model: str, dtype: str) -> Base:
    return load_base(model, dtype=dtype)


@cache
def _engine(stage: Stage) -> HFEngine:
    return HFEngine(_base(stage.model, stage.dtype), batch_size=stage.batch_size)


@cache
def _adapter(model: str, dtype: str, name: str, folder: Path) -> str:
    """Load under a name of its own: two folders may be called the same, and one name holds one adapter."""
    loaded = f"{name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    load_adapter(_base(model, dtype), loaded, folder)
    return loaded
