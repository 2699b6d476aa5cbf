"""Exams as rows: a metric that nobody measured is no row, a rate of nothing is no number."""

from __future__ import annotations

from tsgb.cli.tables import LABELS, comparison, errors, exam_rows
from tsgb.records.report import ExamReport, Rate
from tsgb.rollouts.exam import _METRICS


def rate(successes: int, total: int) -> Rate:
    return Rate(successes=successes, total=total, low=0.0, high=1.0)


BASE = ExamReport(
    target="base",
    split="test",
    rates={"injection_asr": rate(3, 4), "benign_utility": rate(4, 4), "harm_refused": rate(0, 0)},
    families={"injection/rude": rate(3, 4)},
)
HARDENED = BASE.model_copy(update={"rates": {"injection_asr": rate(0, 4)}, "families": {}})


def test_exams_stand_side_by_side_in_the_order_of_the_labels() -> None:
    assert exam_rows({"base": BASE, "hardened": HARDENED}, families=True) == [
        {"metric": "user's task done", "base": "100.0 [0.0, 100.0]", "hardened": None, "n": 4},
        {"metric": "plain harm refused", "base": None, "hardened": None, "n": 0},
        {"metric": "injections that succeed", "base": "75.0 [0.0, 100.0]", "hardened": "0.0 [0.0, 100.0]", "n": 4},
        {"metric": "injection/rude", "base": "75.0 [0.0, 100.0]", "hardened": None, "n": 4},
    ]


def test_errors_stand_beside_the_rates_and_only_if_there_are_any() -> None:
    rows = exam_rows({"base": BASE, "hardened": HARDENED.model_copy(update={"errors": 3})})
    assert rows[:-1] == exam_rows({"base": BASE, "hardened": HARDENED})
    assert rows[-1] == {"metric": "dialogues that count in no rate", "base": None, "hardened": "3 errors", "n": None}
    assert errors(BASE.model_copy(update={"errors": 1})) == "1 error"


def test_the_final_exam_is_compared_as_stored() -> None:
    rows = comparison({"base": BASE.model_dump(), "exam": HARDENED.model_dump(), "bundle": None})
    assert rows == exam_rows({"base": BASE, "hardened": HARDENED})


def test_every_metric_of_an_exam_has_a_label() -> None:
    fresh = {"fresh_injection_mutation", "fresh_jailbreak_mutation", "fresh_policy"}
    assert set(LABELS) == set(_METRICS) | fresh
