"""A world of training processes that add up one step: who is in it, how it is formed, and how it is ended.

    with Ranks(3, program, *arguments) as ranks:      (on one machine; elsewhere every rank calls `join` itself)
        exit_codes = ranks.wait()

Promises: `program(world, *arguments)` runs in as many processes as asked for, each with one thread; when one of them
ends badly the others are ended too, as they could only wait for it. Every world meets in a folder of its own, so the
next one, of any size, never meets the rest of the last.
Leaves out: machines and their networks, which are `cluster`. Worlds on GPUs meet over gloo as well: what is
exchanged here lies on the CPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Concatenate, ParamSpec, Self

import torch
from torch import distributed

P = ParamSpec("P")
PATIENCE = timedelta(minutes=5)
"""How long a rank waits for another that neither answers nor ends."""
PRELOADED = ["torch._dynamo", "deepspeed", "tsgb.training.zero"]


@dataclass(frozen=True)
class World:
    """One process's place among all that train together."""

    rank: int
    """Which one this process is, from 0."""
    size: int
    """How many there are."""

    def parts(self, parts: int, rank: int | None = None) -> range:
        """The virtual ranks that a rank computes (this one, unless another is named)."""
        return range(self.rank if rank is None else rank, parts, self.size)


def join(rank: int, size: int, meeting: str) -> World:
    """Meet the other ranks at an address such as `file:///folder/unused-name` or `tcp://host:port`."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size))
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size, timeout=PATIENCE)
    return World(rank, size)


def leave() -> None:
    """Part when all others are done as well."""
    distributed.barrier()
    distributed.destroy_process_group()


class Ranks:
    """`size` processes on this machine that run `program(world, *arguments)`; at the end of the block they are gone."""

    def __init__(
        self, size: int, program: Callable[Concatenate[World, P], object], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        self._folder = TemporaryDirectory()
        meeting = f"file://{Path(self._folder.name).resolve()}/meeting"
        # Forked from a server that has loaded the libraries and computed nothing: torch's threads survive no fork.
        context = get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self.processes = [
            context.Process(target=_run, args=(rank, size, meeting, program, args, kwargs), daemon=True)
            for rank in range(size)
        ]
        for process in self.processes:
            process.start()

    def kill(self, *ranks: int) -> None:
        """SIGKILL some ranks, or all if none is named."""
        for rank in ranks or range(len(self.processes)):
            self.processes[rank].kill()

    def wait(self) -> list[int]:
        """Wait for the end of all; when one ends badly the others are killed. Returns their exit codes."""
        running = list(self.processes)
        while running:
            wait([process.sentinel for process in running])
            running = [process for process in running if process.exitcode is None]
            if any(process.exitcode for process in self.processes):
                self.kill()
        return [process.exitcode or 0 for process in self.processes]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self.wait()
        self._folder.cleanup()


def _run(
    rank: int,
    size: int,
    meeting: str,
    program: Callable[..., object],
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> None:
    world = join(rank, size, meeting)
    program(world, *args, **kwargs)
    leave()
