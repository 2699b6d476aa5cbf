"""A run with commits in a real store, and its commands as a person types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tsgb.checkpoints import acquire, open_run, publish
from tsgb.cli.main import run
from tsgb.records.run import SCHEMA, Lease, Manifest, RunRecord
from tsgb.storage import LocalStore

Publish = Callable[..., Manifest]
Say = Callable[..., str]
Rows = Callable[..., Any]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    """A store that holds the run `demo`, which has no commit yet; commands run in an empty folder beside it."""
    store, here = LocalStore(tmp_path / "store"), tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("COLUMNS", "200")
    settings = {"run": {"rounds": 2}, "model": {"path": ""}}
    open_run(store, RunRecord(schema=SCHEMA, run="demo", settings=settings, versions={}, seeds={}))
    return store


@pytest.fixture
def commit(store: LocalStore, tmp_path: Path) -> Publish:
    """Publish a step of a stage; a bundle holds an adapter, any other two files that tell the step."""

    def published(step: int, stage: str = "train", *, lease: Lease | None = None, n: int = 0) -> Manifest:
        folder = tmp_path / f"{stage}-{step}"
        folder.mkdir(exist_ok=True)
        names = ("adapter_config.json", "adapter_model.safetensors") if stage == "guards" else ("guard", "optim_guard")
        for name in names:
            (folder / name).write_bytes(f"{name} {step} ".encode() * 20)
        writer = lease or acquire(store, "demo", "ada")
        return publish(store, writer, round_number=n, stage=stage, step=step, folder=folder)

    return published


@pytest.fixture
def say(store: LocalStore, capsys: pytest.CaptureFixture[str]) -> Say:
    """What `tsgb checkpoints …` prints; where it fails, its one sentence on stderr."""

    def said(command: str, *arguments: str, code: int = 0, storage: Path | str = store.root) -> str:
        assert run(["checkpoints", command, *arguments, "--storage", str(storage)]) == code
        captured = capsys.readouterr()
        if code == 2 or not captured.out:
            assert (captured.out, captured.err.count("\n")) == ("", 1)
            return captured.err
        return captured.out

    return said


@pytest.fixture
def rows(say: Say) -> Rows:
    """What a command prints as JSON."""
    return lambda *arguments, **options: json.loads(say(*arguments, "--json", **options))
