"""Processes that compute beside this one: one thread each, deaf to Ctrl-C and SIGTERM, gone when their parent is.

Both may reach every process of a job at once; the parent alone decides what they mean. What helpers hold can be
computed again, so they are ended without being asked. They are spawned, not forked: torch's threads survive no fork.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


class Helpers(ProcessPoolExecutor):
    """A pool of `count` such processes, each prepared by `prepare` with its arguments; close it to end them at once."""

    def __init__(
        self, count: int, prepare: Callable[P, object] | None = None, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        super().__init__(count, get_context("spawn"), _begin, (prepare, args, kwargs))

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have `fn(*args)` computed by a free helper; raises BrokenExecutor if one was ended from outside."""
        with _signals_held():
            return super().submit(fn, *args, **kwargs)

    def close(self) -> None:
        """End all helpers, whatever they are at."""
        processes = list((self._processes or {}).values())
        for process in processes:
            process.kill()
        self.shutdown(cancel_futures=True)
        for process in processes:
            process.join()


@contextmanager
def _signals_held() -> Iterator[None]:
    """Keep both until the end of the block; a process that begins inside it never hears any."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(prepare: Callable[..., object] | None, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    Thread(target=_leave_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    if prepare is not None:
        prepare(*args, **kwargs)


def _leave_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
