"""A real run's commits: whole, without a secret in them, and exported to where the model is examined with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tsgb.settings import Secrets

PLANTED = {name.upper(): f"planted-{name}-7f3a" for name in Secrets.model_fields}


def test_a_runs_commits_are_verified_exported_and_hold_no_secret(
    start: Callable[..., Any], start_tiny: Callable[..., Any], tmp_path: Path
) -> None:
    storage = tmp_path / "store"
    code, _, err = start_tiny(storage, changes={"run.rounds": 1, "evaluation.fresh_episodes": 0}, **PLANTED).end()
    assert code == 0, err

    def checkpoints(command: str, *arguments: str) -> str:
        code, out, err = start("checkpoints", command, "tiny", *arguments, "--storage", storage, **PLANTED).end()
        assert code == 0, err
        return str(out)

    stages = {row["stage"]: row["commit"] for row in json.loads(checkpoints("list", "--limit", "0", "--json"))}
    assert set(stages) == {"attack", "train", "guards"}
    assert all(not each["damage"] for each in json.loads(checkpoints("verify", "--json")))
    state = checkpoints("show", stages["train"])
    assert all(name in state for name in ("trainer_state.json", "guard.safetensors", "optim_guard.safetensors"))
    checkpoints("export", stages["guards"], "--out", "defender")
    code, out, err = start("eval-local", "--adapter", "defender", "--size", "2", "--json", **PLANTED).end()
    assert code == 0, err
    assert json.loads(out)["hardened"]["rates"]["benign_utility"]["total"] == 2
    stored = [path.read_bytes() for path in storage.rglob("*") if path.is_file()]
    assert len(stored) > 20
    assert not [data for data in stored if b"planted-" in data]
