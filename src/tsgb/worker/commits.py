"""The commits of a stage that learns: taken after steps, published beside the work, and gone back from once.

Promises: a commit is due by the settings, or because it is the last; while one is under way the newest state waits for
its turn. When somebody wants this process gone, the step just finished is committed before it goes, if by the last
commit's time the notice leaves enough seconds. A writer that is fenced or has no room stops its stage at the next step.
Leaves out: what a snapshot holds (`training.snapshot`), and the order of a commit's writes (`checkpoints.publish`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self, TypeVar

from tsgb.checkpoints import latest, quarantine
from tsgb.checkpoints.background import Background
from tsgb.checkpoints.cadence import Cadence
from tsgb.checkpoints.layout import stage_of
from tsgb.checkpoints.quarantine import quarantined
from tsgb.errors import NotFinite
from tsgb.records.run import Manifest
from tsgb.training.snapshot import Snapshot
from tsgb.worker.run import Run

Take = Callable[[], Snapshot]
T = TypeVar("T")


class Commits:
    """Commits one stage's steps; at the end of the block what is under way is committed."""

    def __init__(self, run: Run, n: int, stage: str, last: int) -> None:
        settings = run.settings.run
        self.newest: Manifest | None = None
        """The newest commit that this object published."""
        self._run, self._n, self._stage, self._last = run, n, stage, last
        self._cadence = Cadence(settings.steps_between_checkpoints, settings.interruptions_per_hour)
        self._background = Background(self._publish)
        self._steps, self._since = 0, time.monotonic()

    def after(self, step: int, take: Take) -> None:
        """Say that a step is finished; raises Interrupted if somebody asked, and what went wrong in the background."""
        self._steps += 1
        if step == self._last or self._run.interruption.asked:
            self._finish(take)
        elif self._cadence.due(self._steps, time.monotonic() - self._since) and self._background.offer(take):
            self._steps, self._since = 0, time.monotonic()

    def _finish(self, take: Take) -> None:
        """Commit at once what has not been, if there is time."""
        interruption = self._run.interruption
        self._background.wait()
        if not interruption.asked or interruption.seconds_left > self._cadence.upload_s:
            self._publish(take())
        interruption.check()

    def _publish(self, snapshot: Snapshot) -> None:
        begin = time.monotonic()
        snapshot.copied()
        self._cadence.stall_s = time.monotonic() - begin
        with TemporaryDirectory() as folder:
            snapshot.save(Path(folder))
            keep = self._run.settings.run.keep_last
            self.newest = self._run.publish(self._n, self._stage, snapshot.step, Path(folder), keep_last=keep)
        self._cadence.upload_s = time.monotonic() - begin

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._background.__exit__(kind, error, trace)


def going_back_once(run: Run, n: int, stage: str, work: Callable[[], T]) -> T:
    """Do a stage's work; a number that is none puts its newest commit into quarantine and repeats from the parent.

    The second time in a stage, in this process or another, NotFinite is raised: it is not the commit's fault.
    """
    while True:
        try:
            return work()
        except NotFinite as error:
            newest = latest(run.store, run.name, n, stage).manifest
            bad = quarantined(run.store, run.name).items()
            if newest is None or any(stage_of(commit) == (n, stage) and _NO_NUMBER in why for commit, why in bad):
                raise
            quarantine(run.store, run.name, newest.commit, f"{_NO_NUMBER}: {error}")
            run.note(f"{error} Commit {newest.commit} is in quarantine, and its training is repeated from its parent.")


_NO_NUMBER = "what followed was no number"
"""How a reason begins that is given here, and by no damaged file."""
