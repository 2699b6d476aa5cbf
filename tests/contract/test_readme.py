"""The README's numbers are those that its commands print."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_hardening_table_is_the_one_its_command_prints_from_the_stored_counts() -> None:
    command = [sys.executable, "benchmarks/hardening.py", "--out", "benchmarks/results/hardening", "--print"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.split("<!-- table:hardening -->")[1].split("<!-- /table:hardening -->")[0].strip()
    assert printed.startswith("| % [95 %] | base |")
    assert shown == printed
