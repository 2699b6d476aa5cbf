"""Killed at any moment and started again, a run ends with the bytes of one that was never killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tsgb.checkpoints import resume_point
from tsgb.cli.main import INTERRUPTED
from tsgb.storage import LocalStore

KILLS = 10
PROGRAM = Path(__file__).parents[2] / "benchmarks/kills.py"
"""Its long form kills a hundred times; `--help` says where."""
MOMENTS = (
    "after the record of a stage",
    "while a defender's gradient is computed",
    "after an attacker's update",
    "between tensor files",
    "between a commit's files",
    "between manifest and head",
    "after the head has moved",
    "while old commits are deleted",
    "any time",
)


def test_a_run_killed_ten_times_ends_as_one_that_never_was() -> None:
    command = [sys.executable, PROGRAM, "--kills", str(KILLS), "--json", "--only", *MOMENTS]
    ran = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "300"})
    assert ran.returncode == 0, ran.stderr
    *by_moment, total = json.loads(ran.stdout)
    assert (total["times"], total["differ"]) == (KILLS, 0)
    assert len(by_moment) > KILLS / 2, "the kills were not spread over the moments"


def test_a_signal_to_the_whole_job_commits_the_step_under_way(start_tiny: Callable[..., Any], tmp_path: Path) -> None:
    job = start_tiny(tmp_path, processes=2, changes={"breaker.steps": 1000})
    commits = tmp_path / "runs/tiny/commits"
    while job.process.poll() is None and not list(commits.glob("e*/r0-train-s*/manifest.json")):
        time.sleep(0.01)
    job.signal(signal.SIGTERM, group=True)
    code, _, err = job.end()
    assert (code, err.splitlines()[-1]) == (143, INTERRUPTED)
    assert job.is_gone()
    newest = resume_point(LocalStore(tmp_path), "tiny").manifest
    assert newest is not None
    assert (newest.stage, newest.epoch) == ("train", 1)
    assert newest.step == max(int(path.name.split("-s")[1].split("-")[0]) for path in commits.glob("e1/r0-train-*"))
