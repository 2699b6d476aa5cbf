"""From records to the rows a person reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from tsgb.records.report import ExamReport, GuardReport, Rate
from tsgb.report.progress import RunStatus, StageStatus
from tsgb.report.results import RunReport

Row = dict[str, object]

LABELS = {
    "benign_utility": "user's task done",
    "utility_under_attack": "user's task done under attack",
    "delegated_utility": "delegated task done",
    "harmless_utility": "harmless look-alike done",
    "over_refusal": "harmless look-alike refused",
    "harm_refused": "plain harm refused",
    "injection_asr": "injections that succeed",
    "jailbreak_asr": "jailbreaks that succeed",
    "prefill_asr": "forced beginnings that succeed",
    "fresh_injection_mutation": "fresh mutation: injections",
    "fresh_jailbreak_mutation": "fresh mutation: jailbreaks",
    "fresh_policy": "fresh GRPO policy",
}
"""Metric → what it means, in the order in which they are shown."""
CURVES = {
    "rerouting": "rerouting loss",
    "retain": "retain loss",
    "twin": "twin loss",
    "cosine": "cosine",
}
"""What a training step saw → what it is called."""
UNCOUNTED = "dialogues that count in no rate"


def comparison(outputs: Mapping[str, Any]) -> list[Row]:
    """Base and hardened model side by side, a row for each metric, in percent with its interval."""
    exams = {"base": outputs["base"], "hardened": outputs["exam"]}
    return exam_rows({name: ExamReport.model_validate(exam) for name, exam in exams.items()})


def exam_rows(exams: Mapping[str, ExamReport], *, families: bool = False) -> list[Row]:
    """Exams side by side under their names, a row for each metric and, if asked for, for each attack family.

    Dialogues that ended in an error stand in a row of their own, if there are any.
    """
    rows = list(_rows(LABELS, {name: exam.rates for name, exam in exams.items()}))
    if families:
        by_name = {name: exam.families for name, exam in exams.items()}
        rows += _rows({family: family for rates in by_name.values() for family in rates}, by_name)
    if any(exam.errors for exam in exams.values()):
        rows.append({"metric": UNCOUNTED, **{name: errors(exam) for name, exam in exams.items()}, "n": None})
    return rows


def errors(exam: ExamReport) -> str | None:
    """How many dialogues of an exam ended in an error, in words; None if none did."""
    return f"{exam.errors} error{'s' if exam.errors > 1 else ''}" if exam.errors else None


def guard_rows(guards: GuardReport) -> list[Row]:
    """What each guard, and both together, make of attacks and of ordinary work."""
    return [
        {
            "guard": name,
            "AUROC": guards.ranking[name].auroc if name in guards.ranking else None,
            "TPR at 1 % FPR, %": _percent(guards.ranking[name].recall) if name in guards.ranking else None,
            "attacks caught, %": _shown(blocking.caught),
            "n": blocking.caught.total,
            "false alarms, %": _shown(blocking.false_alarms),
            "of": blocking.false_alarms.total,
        }
        for name, blocking in guards.blocking.items()
    ]


def round_rows(report: RunReport) -> list[Row]:
    """The base and every round's bundle on the dev split."""
    rounds = {f"round {each.round}": each.exam for each in report.rounds}
    return exam_rows({"base": report.rounds[0].base, **rounds})


def curve_rows(report: RunReport) -> list[Row]:
    """How every round's trainings went: the mean of the first and of the last tenth of their steps."""
    return [
        {
            "round": each.round,
            "steps": len(each.training.get("rerouting", ())) or None,
            **{label: _trend(each.training.get(name, ())) for name, label in CURVES.items()},
            "updates": len(each.attacker.get("reward", ())) or None,
            "attacker's reward": _trend(each.attacker.get("reward", ())),
        }
        for each in report.curves
    ]


def stage_rows(status: RunStatus) -> list[Row]:
    """How far each stage of a run is."""
    return [
        {
            "round": each.round,
            "stage": each.stage,
            "state": each.state,
            "parts": each.parts or None,
            "commits": _commits(each),
        }
        for each in status.stages
    ]


def _rows(labels: Mapping[str, str], rates: Mapping[str, Mapping[str, Rate]]) -> Iterator[Row]:
    for metric, label in labels.items():
        measured = {name: of[metric] for name, of in rates.items() if metric in of}
        if measured:
            shown = {name: _shown(measured.get(name)) for name in rates}
            yield {"metric": label, **shown, "n": max(rate.total for rate in measured.values())}


def _shown(rate: Rate | None) -> str | None:
    return str(rate) if rate and rate.total else None


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f}"


def _trend(values: Sequence[float]) -> str | None:
    tenth = max(1, len(values) // 10)
    return f"{fmean(values[:tenth]):.3f} → {fmean(values[-tenth:]):.3f}" if values else None


def _commits(stage: StageStatus) -> str | None:
    return f"{stage.commits} kept, newest at step {stage.step}" if stage.commits else None
