"""Live writers killed, stopped, continued and gone back behind; short form of `benchmarks/chaos.py`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from chaos import conduct


def test_in_chaos_nothing_is_lost_or_overwritten_and_every_zombie_is_fenced(tmp_path: Path) -> None:
    row, violations = conduct(Namespace(store=str(tmp_path / "store"), endpoint="", seconds=12, pause=0.3, seed=0))
    assert violations == []
    assert row["commits"]
    assert row["kills"]
    assert row["fenced"]
