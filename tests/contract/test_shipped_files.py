"""What is put on machines is whole: settings load, scripts parse, secrets are named right, the wheel has all."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tsgb.assets import asset
from tsgb.cli.settings import example_toml
from tsgb.settings import Secrets, Settings, load_settings

ROOT = Path(__file__).parents[2]
DATA = ("cluster", "manager", "worker", "checkpoints_schema")
TRACKED = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()


def shell_scripts() -> list[str]:
    """Tracked files whose first line names sh or bash."""
    first_lines = {name: (ROOT / name).open("rb").readline() for name in TRACKED if (ROOT / name).is_file()}
    return [name for name, line in first_lines.items() if re.match(rb"#!.*\b(ba)?sh\b", line)]


@pytest.mark.parametrize("name", [name for name in TRACKED if name.endswith(".toml") and name.startswith(DATA)])
def test_shipped_settings_load(name: str) -> None:
    assert load_settings(ROOT / name)


def test_the_complete_example_is_the_settings_themselves(matches_file: Callable[[str, Path], None]) -> None:
    matches_file(example_toml(), ROOT / "manager/tsgb.toml")
    assert load_settings(ROOT / "manager/tsgb.toml") == Settings()


@pytest.mark.parametrize("name", shell_scripts())
def test_shell_scripts_parse(name: str) -> None:
    shell = "bash" if "bash" in (ROOT / name).read_text().splitlines()[0] else "sh"
    ran = subprocess.run([shell, "-n", ROOT / name], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", [".env.example", "manager/secrets.env.example"])
def test_the_secrets_a_person_fills_in_are_those_that_are_read(name: str) -> None:
    names = re.findall(r"^(\w+)=$", (ROOT / name).read_text(), flags=re.MULTILINE)
    assert names == [field.upper() for field in Secrets.model_fields]


def test_nothing_is_pickled() -> None:
    pickled = re.compile(r"^\s*(import|from) (pickle|dill|cloudpickle|joblib)\b|torch\.(save|load)\(", re.MULTILINE)
    sources = sorted((ROOT / "src").rglob("*.py"))
    assert sources
    assert not [path for path in sources if pickled.search(path.read_text(encoding="utf-8"))]


def test_data_folders_hold_no_python() -> None:
    assert not [name for name in TRACKED if name.startswith(DATA) and name.endswith(".py")]


def test_assets_are_found_in_a_checkout_and_missed_by_name() -> None:
    assert asset("manager/tsgb.toml") == ROOT / "manager/tsgb.toml"
    with pytest.raises(FileNotFoundError, match="no-such-folder"):
        asset("no-such-folder")


def test_the_wheel_built_from_the_sdist_carries_every_shipped_file(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, ROOT]
    ran = subprocess.run(build, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    carried = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    shipped = {f"tsgb/_assets/{name}" for name in TRACKED if name.startswith(DATA)}
    package = {name.removeprefix("src/") for name in TRACKED if name.startswith("src/")}
    assert shipped | package <= carried
