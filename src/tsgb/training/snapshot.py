"""A training as it stands after a step, copied aside while the gradient of the next one is computed.

Promises: a snapshot is of the step after which it was taken, whichever thread copies it and whenever: until it has been
copied nothing changes, and a step that is ready to change something waits. Each trainer copies into the same buffers
again and again, so that snapshots cost one copy of its trainable state.
Leaves out: when to take one, and where its files go.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from tsgb.training.optimizer import OptimizerState
from tsgb.training.reports import save_reports
from tsgb.training.state import save_state

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class Stillness:
    """Keeps a state from changing while it is copied."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.waited_s = 0.0
        """Seconds for which changes have waited so far."""

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Wait until nothing is being copied, and let nothing be until the end of the block."""
        begin = time.perf_counter()
        with self._lock:
            self.waited_s += time.perf_counter() - begin
            yield

    def begin(self) -> None:
        """From now on nothing changes."""
        self._lock.acquire()

    def end(self) -> None:
        """It has been copied; any thread may say so."""
        self._lock.release()


class Snapshot:
    """One training after one step; its buffers hold it until the next snapshot of that training is copied."""

    def __init__(
        self,
        still: Stillness,
        copy: Callable[[], OptimizerState],
        reports: Sequence[DataclassInstance],
        *,
        name: str,
        digest: str,
    ) -> None:
        still.begin()
        self._still, self._copy = still, copy
        self._reports, self._name, self._digest = tuple(reports), name, digest
        self._state: OptimizerState | None = None

    @property
    def step(self) -> int:
        """How many steps had been reported."""
        return len(self._reports)

    def copied(self) -> OptimizerState:
        """The state, copied at the first call, after which training may change it."""
        if self._state is None:
            try:
                self._state = self._copy()
            finally:
                self._still.end()
        return self._state

    def save(self, folder: Path) -> None:
        """Write reports and state to a folder, as `training.reports` and `training.state` lay them out."""
        state = self.copied()
        save_reports(self._reports, folder, name=self._name)
        save_state(state, folder, name=self._name, digest=self._digest)
