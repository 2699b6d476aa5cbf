"""What a person sees: one sentence and an exit code for a mistake, a traceback for a bug, the same rows either way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import tsgb
from tsgb.cli.main import STOPPED, app, run
from tsgb.cli.output import print_rows, progress


def tsgb_process(code: str, cwd: Path) -> subprocess.Popen[str]:
    """A real process whose `tsgb wait` runs `code`."""
    script = f"import time\nfrom tsgb.cli.main import app, main\n@app.command()\ndef wait():\n    {code}\nmain()"
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", script, "wait"]
    return subprocess.Popen(command, cwd=cwd, stdout=pipe, stderr=pipe, text=True, preexec_fn=hear_ctrl_c)


def hear_ctrl_c() -> None:
    """Background jobs of a shell are started deaf to Ctrl-C; a person's command is not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["setings"], "No such command 'setings'. Did you mean 'settings'?"),
        (["settings", "show", "--sett", "x"], "No such option: --sett"),
        (["settings", "show", "--set", "x"], "--set x sets nothing; write SECTION.FIELD=VALUE"),
        (
            ["settings", "show", "--set", "run.sede=1"],
            "run.sede in the flags is not a setting; the nearest is run.seed",
        ),
        (["settings", "show", "--config", "nope.toml"], "nope.toml cannot be read"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(sentence)
    assert captured.err.count("\n") == 1


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"tsgb {tsgb.__version__}\n"


def test_ctrl_c_says_that_what_does_not_resume_begins_anew(tmp_path: Path) -> None:
    process = tsgb_process("print('ready', flush=True); time.sleep(60)", tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, f"{STOPPED}\n")


def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    process = tsgb_process("1 / 0", tmp_path)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err.startswith("Traceback")
    assert err.endswith("ZeroDivisionError: division by zero\n")


def test_a_failure_outside_is_one_sentence(tmp_path: Path) -> None:
    process = tsgb_process("from tsgb.errors import NoSpace; raise NoSpace('the disk is full')", tmp_path)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (1, "the disk is full\n")


def test_settings_are_shown_with_their_place_and_secrets_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAST_API_KEY", "topsecret")
    assert run(["settings", "show", "--preset", "smoke", "--set", "run.seed=7", "--json"]) == 0
    out = capsys.readouterr().out
    rows = {row["setting"]: (row["value"], row["from"]) for row in json.loads(out)}
    assert rows["run.seed"] == (7, "flag")
    assert rows["run.rounds"] == (1, "preset smoke")
    assert rows["VAST_API_KEY"] == ("hidden", "environment or .env")
    assert "topsecret" not in out


def test_the_printed_example_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["settings", "example"]) == 0
    (tmp_path / "tsgb.toml").write_text(capsys.readouterr().out)
    assert run(["settings", "show"]) == 0


def test_a_table_and_its_json_hold_the_same_rows(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"name": "base", "asr": 0.75}, {"name": "hardened", "asr": None}]
    print_rows(rows, as_json=True)
    assert json.loads(capsys.readouterr().out) == rows
    print_rows(rows)
    table = capsys.readouterr().out
    assert all(word in table for word in ("name", "asr", "base", "0.75", "hardened", "–"))


def test_progress_is_silent_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("working", 3) as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")


def test_every_command_is_described() -> None:
    def undescribed(command: object, path: str) -> list[str]:
        children = getattr(command, "commands", {}).items()
        mine = [] if getattr(command, "help", None) else [path]
        return mine + [name for child, node in children for name in undescribed(node, f"{path} {child}")]

    assert undescribed(get_command(app), "tsgb") == []
