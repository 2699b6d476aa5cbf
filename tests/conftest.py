"""What every test shares: one thread per process, no hub, and how a written-down promise is renewed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew", action="store_true", help="write the promises in tests/contract down anew")


@pytest.fixture
def matches_file(request: pytest.FixtureRequest) -> Callable[[str, Path], None]:
    """Compare text with a file that promises it; `--renew` writes the file instead."""

    def check(text: str, path: Path) -> None:
        if request.config.getoption("--renew"):
            path.write_text(text, encoding="utf-8")
        promised = path.read_text(encoding="utf-8").splitlines()
        assert text.splitlines() == promised, (
            f"{path.name} promises something else; if the change is meant, run: "
            f".venv/bin/pytest {request.node.nodeid} --renew"
        )

    return check
