"""What `--checkpoint-path` may point at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tsgb.errors import Corrupt, InputError, Missing
from tsgb.report.bundles import find_bundle
from tsgb.storage import LocalStore


@pytest.mark.parametrize("path", ["runs/demo", "demo", "latest", "runs/latest"])
def test_a_run_stands_for_its_accepted_bundle(finished: LocalStore, path: str) -> None:
    found = find_bundle(finished.root / path)
    assert found.folder is not None
    assert found.folder.name.startswith("r1-guards-s0-")


def test_the_latest_run_is_the_one_whose_head_moved_last(finished: LocalStore) -> None:
    other = finished.root / "runs/other"
    other.mkdir()
    (other / "HEAD").write_text("{}")
    (other / "adapter_config.json").write_text("{}")
    assert find_bundle(finished.root / "latest").folder == other
    os.utime(other / "HEAD", (0, 0))
    assert find_bundle(finished.root / "latest").folder != other


def test_a_commit_stands_for_itself_and_every_byte_is_checked(finished: LocalStore) -> None:
    commit = find_bundle(finished.root / "runs/demo").folder
    assert commit is not None
    assert find_bundle(commit).folder == commit
    (commit / "adapter_config.json").write_text("[]")
    with pytest.raises(Corrupt, match="adapter_config.json should be 2 bytes"):
        find_bundle(commit)
    (commit / "adapter_config.json").unlink()
    with pytest.raises(Missing, match=r"adapter_config.json is not there, though its manifest promises it"):
        find_bundle(finished.root / "runs/demo")


def test_a_run_without_an_accepted_defender_says_why_and_what_to_give_instead(finished: LocalStore) -> None:
    (finished.root / "runs/demo/rounds/1/gates.json").unlink()
    with pytest.raises(InputError, match=r"no accepted defender \(benign utility fell by 9.0 %\).* give ") as caught:
        find_bundle(finished.root / "runs/demo")
    rejected = Path(str(caught.value).rpartition(" give ")[2])
    assert find_bundle(rejected).folder == rejected


def test_anything_else_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere does not exist; give the folder of a run"):
        find_bundle(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"has no adapter_config.json; give the folder of a run"):
        find_bundle(tmp_path)
    with pytest.raises(InputError, match=r"^There is no run in .*; begin one with tsgb train-local"):
        find_bundle(tmp_path / "latest")
