"""The two commands of the README: what they need, what they say, what they skip."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the script and what it depends on, not set up yet."""
    (tmp_path / "worker").mkdir()
    for name in ("go", "pyproject.toml", "worker/constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def go(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [checkout / "go", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


def test_ci_runs_what_the_readme_says() -> None:
    readme = re.search(r"^(\./go test)\b", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert readme is not None
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == f"exec {readme[1]}"


def test_without_a_new_enough_python_one_sentence_names_the_cure(checkout: Path) -> None:
    tools = checkout / "tools"
    tools.mkdir()
    for name in ("sh", "dirname", "cat", "cksum"):
        (tools / name).symlink_to(str(shutil.which(name)))
    ran = go(checkout, "run", PATH=str(tools))
    sentence = "No Python 3.11 or newer was found; install one, or name it: PYTHON=/path/to/python3 ./go ...\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", sentence)
    ran = go(checkout, "run", PYTHON="/bin/false")
    sentence = "PYTHON is /bin/false, which is not Python 3.11 or newer; name another or unset it.\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", sentence)
    assert not (checkout / ".venv").exists()


def test_what_is_set_up_already_is_not_set_up_again(checkout: Path) -> None:
    programs = checkout / ".venv/bin"
    programs.mkdir(parents=True)
    (programs / "tsgb").write_text('#!/bin/sh\necho "tsgb $*"\n')
    (programs / "pip").write_text('#!/bin/sh\necho "pip $*"\n')
    for name in ("tsgb", "pip"):
        (programs / name).chmod(0o755)
    first, second = go(checkout, "run", "--seed", "1"), go(checkout, "run", "--seed", "1")
    assert first.stderr.startswith("Bringing .venv up to date with pyproject.toml.\npip install")
    assert first.stdout == second.stdout == "tsgb train-local --seed 1\n"
    assert second.stderr == ""
    with (checkout / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert go(checkout, "run").stderr.startswith("Bringing .venv up to date")


def test_anything_else_is_answered_with_the_two_commands(checkout: Path) -> None:
    ran = go(checkout, "tset")
    assert (ran.returncode, ran.stderr) == (2, "Say ./go run or ./go test.\n")
