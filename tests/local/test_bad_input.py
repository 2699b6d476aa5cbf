"""What a person or a machine does wrong: one sentence, an exit code, and nothing lost."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tsgb import surrogate
from tsgb.cli.main import INTERRUPTED

Start = Callable[..., Any]
ONE_ROUND = {"run.rounds": 1}
WHILE_HELPERS_BEGIN = {"playing": 2, "training": 10}
"""Stages and parts that are done when the helpers of a piece of work are being started."""


def sentence(job: Any, code: int) -> str:
    """What a command says that ends with an exit code: one line, and nothing on stdout."""
    ended, out, err = job.end()
    said = without_progress(err)
    assert (ended, out, said.count("\n")) == (code, "", 1), err
    return said


def without_progress(err: str) -> str:
    """What stands on stderr beside the pieces of work that were done."""
    return "".join(line for line in err.splitlines(keepends=True) if not line.startswith("done: "))


def test_a_wrong_flag_is_named(start: Start) -> None:
    assert sentence(start("train-local", "--epizodes", "5"), 2).startswith("No such option: --epizodes")


@pytest.mark.parametrize(
    ("toml", "environment", "said"),
    [
        ("[run]\nsede = 1\n", {}, "run.sede in {config} is not a setting; the nearest is run.seed"),
        (
            "",
            {"TSGB_RUN__SEDE": "1"},
            "TSGB_RUN__SEDE in the environment is not a setting; the nearest is TSGB_RUN__SEED",
        ),
        ("[run]\nrounds = 0\n", {}, "run.rounds is 0 ({config}), but should be greater than 0; change it there"),
    ],
)
def test_a_setting_that_does_not_exist_or_fit_is_named_with_its_place(
    start: Start, tmp_path: Path, toml: str, environment: dict[str, str], said: str
) -> None:
    config = tmp_path / "tsgb.toml"
    config.write_text(toml)
    expected = said.format(config=config, variable="TSGB_RUN__SEED")
    assert sentence(start("train-local", "--config", config, **environment), 2) == f"{expected}\n"


def test_a_model_that_cannot_be_used_is_refused_before_anything_is_stored(start_tiny: Start, tmp_path: Path) -> None:
    shutil.copytree(surrogate.shipped(), tmp_path / "mute")
    (tmp_path / "mute/chat_template.jinja").unlink()
    said = sentence(start_tiny(tmp_path / "store", changes={"model.path": tmp_path / "mute"}), 2)
    assert "has no chat template; bring an instruction-tuned model" in said
    said = sentence(start_tiny(tmp_path / "store", changes={"model.path": tmp_path / "nowhere"}), 2)
    assert f"No causal language model could be loaded from '{tmp_path / 'nowhere'}'" in said
    said = sentence(start_tiny(tmp_path / "store", changes={"breaker.target_layers": "9"}), 2)
    assert "has no layer 9: choose 0 to" in said
    assert list((tmp_path / "store").rglob("*")) == []


def test_a_run_keeps_the_settings_it_was_started_with(start_tiny: Start, wait_for: Any, tmp_path: Path) -> None:
    job = start_tiny(tmp_path)
    wait_for(job, tmp_path, 1)
    job.signal(signal.SIGKILL, group=True)
    said = sentence(start_tiny(tmp_path, changes={"run.seed": 7}), 2)
    assert "run «tiny» was started with other settings" in said
    assert "run.seed was 0, now 7" in said
    assert "start another run under another name" in said


def test_ctrl_c_says_one_sentence_leaves_nobody_behind_and_the_same_command_goes_on(
    start_tiny: Start, wait_for: Any, tmp_path: Path
) -> None:
    for done in WHILE_HELPERS_BEGIN.values():
        job = start_tiny(tmp_path, processes=2, changes=ONE_ROUND)
        wait_for(job, tmp_path, done)
        time.sleep(0.5)
        job.signal(signal.SIGINT, group=True)
        code, out, err = job.end()
        assert (code, out, without_progress(err)) == (130, "", f"{INTERRUPTED}\n")
        assert job.is_gone()
    code, out, err = start_tiny(tmp_path, changes=ONE_ROUND).end()
    assert code == 0, err
    assert "Final exam of run tiny" in out
    assert "Written: reports/tiny/report.json" in out
    assert (tmp_path / "reports/tiny/report.png").is_file()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of a third of a megabyte, which can be given more."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("full", ["store", "temporary files"])
def test_on_a_full_disk_a_run_stops_with_the_cure_and_goes_on_once_there_is_space(
    start_tiny: Start, records: Any, small_disk: Path, tmp_path: Path, full: str
) -> None:
    storage, scratch = (small_disk, tmp_path) if full == "store" else (tmp_path / "store", small_disk)
    said = sentence(start_tiny(storage, changes=ONE_ROUND, TMPDIR=str(scratch)), 1)
    assert said.startswith("no space left to write ")
    assert said.endswith("free some and run the same command again, everything committed before is whole.\n")
    before = records(storage)
    assert before
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    code, _, err = start_tiny(storage, changes=ONE_ROUND, TMPDIR=str(scratch)).end()
    assert code == 0, err
    assert set(before) < set(records(storage))
