"""Snapshots that are published beside the work: one at a time, and while one is under way no other is taken.

So the newest state is what is published as soon as there is room, and one copy of it is all the memory it costs.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

Snapshot = TypeVar("Snapshot")


class Background(Generic[Snapshot]):
    """Publishes snapshots in a thread of its own; what goes wrong there is raised at the next call here."""

    def __init__(self, publish: Callable[[Snapshot], object]) -> None:
        self._publish = publish
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._under_way: Future[object] | None = None

    def offer(self, take: Callable[[], Snapshot]) -> bool:
        """Take a snapshot and begin to publish it, unless one is under way; returns whether."""
        if self._under_way is not None and not self._under_way.done():
            return False
        self.wait()
        self._under_way = self._thread.submit(self._publish, take())
        return True

    def wait(self) -> None:
        """Wait for what is under way."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        if error is None:
            self.wait()
