"""A store in a folder, and a short way to publish a step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tsgb.checkpoints import publish
from tsgb.records.run import Lease, Manifest
from tsgb.storage import LocalStore

PublishStep = Callable[..., Manifest]


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def publish_step(store: LocalStore, tmp_path: Path) -> PublishStep:
    """Publish two small files whose content tells the step."""

    def publish_one(
        lease: Lease, step: int, stage: str = "train", round_number: int = 0, keep_last: int | None = None
    ) -> Manifest:
        folder = tmp_path / "state"
        (folder / "optim").mkdir(parents=True, exist_ok=True)
        (folder / "adapter.safetensors").write_bytes(b"adapter %d" % step * 20)
        (folder / "optim" / "moments.safetensors").write_bytes(b"moments %d" % step * 20)
        place = {"round_number": round_number, "step": step}
        return publish(store, lease, stage=stage, folder=folder, keep_last=keep_last, **place)

    return publish_one
