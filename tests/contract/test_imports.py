"""Imports flow downwards, and asking for help loads no GPU stack."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTROL_HOST = {"assets", "checkpoints", "cluster", "errors", "judging", "manager", "records", "settings", "storage"}
CONTROL_HOST |= {"transfer"}
HEAVY = {"torch", "transformers", "peft", "deepspeed", "safetensors", "ray", "matplotlib", "numpy"}


def python(code: str) -> str:
    """What a clean interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def modules_after(code: str) -> set[str]:
    return set(python(f"{code}\nimport sys; print('\\n' + ' '.join(sys.modules))").splitlines()[-1].split())


def packages() -> set[str]:
    return {
        path.stem for path in (ROOT / "src/tsgb").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }


def test_the_import_contract_is_kept() -> None:
    ran = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], capture_output=True, text=True, cwd=ROOT
    )
    assert ran.returncode == 0, ran.stdout


def test_the_contract_of_the_control_host_covers_every_package_it_runs() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    covered = next(contract["source_modules"] for contract in contracts if contract["type"] == "forbidden")
    assert set(covered) == {f"tsgb.{name}" for name in packages() & CONTROL_HOST}


def test_the_base_install_names_no_gpu_stack() -> None:
    names = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert not [name for name in names if name.startswith(tuple(HEAVY))]


def test_every_command_shows_its_help_without_a_gpu_stack() -> None:
    loaded = modules_after(
        "from typer.main import get_command\n"
        "from tsgb.cli.main import app, run\n"
        "def visit(command, path):\n"
        "    assert run([*path, '--help']) == 0, path\n"
        "    for name, child in getattr(command, 'commands', {}).items(): visit(child, [*path, name])\n"
        "visit(get_command(app), [])"
    )
    assert "tsgb.cli.main" in loaded
    assert not loaded & HEAVY


def test_settings_load_without_a_gpu_stack() -> None:
    loaded = modules_after("from tsgb.settings import load_settings; load_settings()")
    assert "tsgb.settings" in loaded
    assert not loaded & HEAVY
