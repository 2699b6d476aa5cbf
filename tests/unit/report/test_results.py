"""A run's exams as one record, and as files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tsgb.errors import InputError
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
    assert [path.name for path in first] == ["report.json", "report.png", "report.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert json.loads(first[0].read_text())["final"]["base"]["rates"]["injection_asr"]["successes"] == 31
    assert first[1].read_bytes().startswith(b"\x89PNG")
    drawn = first[2].read_text()
    for words in ("task done under attack", "(rejected)", "injection succeeds (n = 40)", "Final exam", "77.5"):
        assert words in drawn


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
