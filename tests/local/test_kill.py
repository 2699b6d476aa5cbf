"""kill -9 at any moment and the same command again: the run ends with the bytes of one that was never killed."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

KILLS = 10
COMMIT = re.compile(rb"e\d+/(r\d+-[a-z]+-s\d+)-[0-9a-f]{8}")
"""A commit's name: its epoch counts the writers, its end is random; what is between says what it holds."""


def contents(storage: Path) -> dict[str, bytes]:
    """All that a run has recorded, played and published, by name; commits that records name without their writer."""
    run = storage / "runs/tiny"
    recorded = {path.relative_to(run).as_posix(): path.read_bytes() for path in (run / "rounds").rglob("[!.]*.json")}
    played = {path.name: path.read_bytes() for path in (run / "data/blobs").glob("[!.]*")}
    return {name: COMMIT.sub(rb"\1", data) for name, data in recorded.items()} | played | published(run)


def published(run: Path) -> dict[str, bytes]:
    """The files of every bundle and attacker that a stage names."""
    files = {}
    for record in [*run.glob("rounds/*/guards.json"), *run.glob("rounds/*/attack.json")]:
        folder = run / "commits" / json.loads(record.read_bytes())["outputs"]["commit"]
        for path in folder.glob("[!.]*"):
            if path.name != "manifest.json":
                files[f"{folder.name.rpartition('-')[0]}/{path.name}"] = path.read_bytes()
    return files


def test_a_run_killed_ten_times_ends_as_one_that_never_was(
    start_tiny: Callable[..., Any],
    wait_for: Callable[..., None],
    records: Callable[[Path], list[str]],
    tmp_path: Path,
) -> None:
    code, _, err = start_tiny(tmp_path / "whole", processes=1).end()
    assert code == 0, err
    whole, random, killed_at = contents(tmp_path / "whole"), Random(0), []
    for moment in sorted(random.sample(range(len(records(tmp_path / "whole"))), KILLS)):
        job = start_tiny(tmp_path / "killed", processes=2)
        wait_for(job, tmp_path / "killed", moment)
        time.sleep(random.uniform(0, 0.5))
        killed_at.append(len(records(tmp_path / "killed")))
        job.signal(signal.SIGKILL, group=random.random() < 0.5)
        assert job.end()[0] == -signal.SIGKILL
        assert job.is_gone()
    assert len(set(killed_at)) > KILLS / 2, "the kills were not spread over the run"
    job = start_tiny(tmp_path / "killed", processes=2)
    code, _, err = job.end()
    assert code == 0, err
    assert job.is_gone()
    resumed = contents(tmp_path / "killed")
    assert any(name.endswith("r1-guards-s0/adapter_model.safetensors") for name in whole)
    assert [name for name in sorted(whole.keys() | resumed.keys()) if whole.get(name) != resumed.get(name)] == []
