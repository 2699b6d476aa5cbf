"""One fixture a store: every promise in `test_store.py` is put to each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsgb.storage import LocalStore, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return LocalStore(tmp_path / "store")
