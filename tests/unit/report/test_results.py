"""A run's exams as one record, and as files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tsgb.errors import Corrupt, InputError
from tsgb.report.files import write_report
from tsgb.report.results import read_results
from tsgb.report.runs import find_run
from tsgb.storage import LocalStore


def test_a_report_holds_every_round_with_its_reasons_and_the_final_exam(finished: LocalStore) -> None:
    report = read_results(*find_run(finished.root, "demo"))
    assert [(each.round, each.accepted, each.reasons) for each in report.rounds] == [
        (0, False, ("benign utility fell by 9.0 %",)),
        (1, True, ()),
    ]
    assert report.final is not None
    assert report.final.exam.rates["injection_asr"].successes == 0
    assert report.seeds == {"run": 7}


def test_before_the_first_gate_there_is_nothing_to_report(begun: LocalStore) -> None:
    with pytest.raises(InputError, match=r"^Run 'demo' has sat no exam yet; tsgb status demo says how far it is\.$"):
        read_results(*find_run(begun.root, "demo"))


def test_a_report_is_written_as_data_and_as_a_figure_with_the_same_bytes_twice(
    finished: LocalStore, tmp_path: Path
) -> None:
    report = read_results(*find_run(finished.root, "demo"))
    first, second = write_report(report, tmp_path / "one"), write_report(report, tmp_path / "two")
    assert [path.name for path in first] == [
        *("report.json", "report.png", "report.svg"),
        *("training.png", "training.svg"),
    ]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert json.loads(first[0].read_text())["final"]["base"]["rates"]["injection_asr"]["successes"] == 31
    assert first[1].read_bytes().startswith(b"\x89PNG")
    drawn = first[2].read_text()
    for words in ("task done under attack", "(rejected)", "injection succeeds (n = 40)", "Final exam", "77.5"):
        assert words in drawn


def test_a_report_holds_what_every_training_step_saw(finished: LocalStore) -> None:
    (curves,) = read_results(*find_run(finished.root, "demo")).curves
    assert curves.round == 0
    assert curves.training["retain"] == tuple(range(20))
    assert set(curves.training) == {"rerouting", "retain", "twin", "cosine"}
    assert curves.attacker == {"reward": (0.25, 0.75)}


def test_the_curves_are_drawn_and_a_run_without_any_has_no_such_figure(finished: LocalStore, tmp_path: Path) -> None:
    report = read_results(*find_run(finished.root, "demo"))
    drawn = write_report(report, tmp_path / "out")[-1].read_text()
    for words in ("Rerouting loss", "Twin loss", "Cosine with the frozen model", "Attacker's reward", "round 0"):
        assert words in drawn
    without = write_report(report.model_copy(update={"curves": ()}), tmp_path / "without")
    assert [path.name for path in without] == ["report.json", "report.png", "report.svg"]
    silent = report.curves[0].model_copy(update={"attacker": {}})
    drawn = write_report(report.model_copy(update={"curves": (silent,)}), tmp_path / "silent")[-1].read_text()
    assert "Twin loss" in drawn and "reward" not in drawn


def test_a_commit_that_was_taken_away_takes_its_curve_along(finished: LocalStore) -> None:
    (folder,) = finished.root.glob("runs/demo/commits/*/r0-attack-*")
    shutil.rmtree(folder)
    (curves,) = read_results(*find_run(finished.root, "demo")).curves
    assert curves.training and not curves.attacker


def test_damaged_reports_are_noticed(finished: LocalStore) -> None:
    (damaged,) = finished.root.glob("runs/demo/commits/*/*/reports_attacker.jsonl")
    damaged.write_bytes(damaged.read_bytes().replace(b"0.75", b"0.76"))
    with pytest.raises(Corrupt, match=r"reports_attacker\.jsonl should be"):
        read_results(*find_run(finished.root, "demo"))


def test_a_figure_without_a_final_exam_shows_the_rounds(finished: LocalStore, tmp_path: Path) -> None:
    report = read_results(*find_run(finished.root, "demo")).model_copy(update={"final": None})
    drawn = write_report(report, tmp_path / "out")[2].read_text()
    assert "round 1" in drawn
    assert "Final exam" not in drawn


def test_a_figure_says_how_many_dialogues_ended_in_an_error(finished: LocalStore, tmp_path: Path) -> None:
    report = read_results(*find_run(finished.root, "demo"))
    assert "ended in an error" not in write_report(report, tmp_path / "out")[2].read_text()
    assert report.final
    exam = report.final.exam.model_copy(update={"errors": 3})
    failed = report.model_copy(update={"final": report.final.model_copy(update={"exam": exam})})
    assert (
        "3 dialogues that ended in an error count in no rate" in write_report(failed, tmp_path / "out")[2].read_text()
    )


def test_a_folder_that_cannot_be_written_is_one_sentence(finished: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="taken cannot be written .* name another folder with tsgb report --out"):
        write_report(read_results(*find_run(finished.root, "demo")), tmp_path / "taken")
