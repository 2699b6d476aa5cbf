"""The real command in real processes: a tiny run, how far it is, and who of it is still alive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TINY = {
    "run.name": "tiny",
    "run.rounds": 2,
    "run.steps_between_checkpoints": 2,
    "rollout.episodes": 24,
    "rollout.group_size": 2,
    "rollout.ordinary": 100,
    "breaker.steps": 10,
    "breaker.breaker_batch": 2,
    "breaker.retain_batch": 2,
    "breaker.twin_batch": 2,
    "attacker.iterations": 1,
    "attacker.mutation_rounds": 1,
    "evaluation.benign": 4,
    "evaluation.attacked": 4,
    "evaluation.harmful": 2,
    "evaluation.fresh_episodes": 8,
}
"""Every stage of two rounds in a few seconds; the ordinary work is more than one process plays at a time."""


class Job:
    """A `tsgb` command in a session of its own, as a terminal would start it."""

    def __init__(self, *arguments: str | Path, cwd: Path, **environment: str) -> None:
        command = [Path(sys.executable).with_name("tsgb"), *arguments]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=cwd,
            preexec_fn=_hear_ctrl_c,
            env=os.environ | {"COLUMNS": "300"} | environment,
        )

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: exit code, stdout, stderr."""
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err

    def signal(self, number: int, *, group: bool) -> None:
        """Signal the whole job, or its first process alone."""
        (os.killpg if group else os.kill)(self.process.pid, number)

    def alive(self) -> list[int]:
        """Processes of its session that are still there."""
        return [int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if self._is_of(stat)]

    def is_gone(self) -> bool:
        """Whether all its processes are gone within ten seconds."""
        deadline = time.monotonic() + 10
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        return not self.alive()

    def _is_of(self, stat: Path) -> bool:
        try:
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            return False
        return state != "Z" and int(session) == self.process.pid


def _hear_ctrl_c() -> None:
    """Undo what a shell does to commands in its background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Start `tsgb` with arguments and environment; what is left of it is killed in the end."""
    jobs: list[Job] = []
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def started(*arguments: str | Path, **environment: str) -> Job:
        jobs.append(Job(*arguments, cwd=tmp_path, **({"TMPDIR": str(scratch)} | environment)))
        return jobs[-1]

    yield started
    for job in jobs:
        for pid in job.alive():
            os.kill(pid, signal.SIGKILL)
        job.process.communicate()


@pytest.fixture
def start_tiny(start: Callable[..., Job]) -> Callable[..., Job]:
    """Start the tiny run, or go on with it, in a folder; further settings by dotted key."""

    def started(storage: Path, processes: int = 1, changes: dict[str, Any] | None = None, **environment: str) -> Job:
        settings = TINY | {"storage.root": storage, "run.processes": processes} | (changes or {})
        flags = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        return start("train-local", *flags, **environment)

    return started


@pytest.fixture
def records() -> Callable[[Path], list[str]]:
    """The names of all stages and parts of the tiny run that are done in a folder."""

    def done(storage: Path) -> list[str]:
        rounds = storage / "runs/tiny/rounds"
        return sorted(path.relative_to(rounds).as_posix() for path in rounds.rglob("[!.]*.json"))

    return done


@pytest.fixture
def wait_for(records: Callable[[Path], list[str]]) -> Callable[[Job, Path, int], None]:
    """Wait until so many stages and parts are done in a folder, or the job has ended."""

    def wait(job: Job, storage: Path, count: int) -> None:
        deadline = time.monotonic() + 120
        while job.process.poll() is None and len(records(storage)) < count and time.monotonic() < deadline:
            time.sleep(0.01)

    return wait
