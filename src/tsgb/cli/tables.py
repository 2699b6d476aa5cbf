"""From records to the rows a person reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tsgb.records.report import ExamReport, Rate
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
}
"""Metric → what it means, in the order in which they are shown."""
_OVER_ROUNDS = ("benign_utility", "utility_under_attack", "over_refusal", "injection_asr", "jailbreak_asr", "prefill_asr")


def comparison(outputs: Mapping[str, Any]) -> list[Row]:
    """Base and hardened model side by side, a row for each metric, in percent with its interval."""
    return side_by_side(ExamReport.model_validate(outputs["base"]), ExamReport.model_validate(outputs["exam"]))


def side_by_side(base: ExamReport, hardened: ExamReport | None, *, families: bool = False) -> list[Row]:
    """A row for each metric, and if asked for each attack family; only the base where nothing was hardened."""
    rows = list(_rows(LABELS, base.rates, hardened.rates if hardened else None))
    if families:
        names = {name: f"{name} succeeds" for name in base.families}
        rows += _rows(names, base.families, hardened.families if hardened else None)
    return rows


def round_rows(report: RunReport) -> list[Row]:
    """The base and every round's bundle on the dev split."""
    exams = [("base", report.rounds[0].base, "")]
    exams += [(f"round {each.round}", each.exam, _ruling(each.accepted, each.reasons)) for each in report.rounds]
    return [
        {"model": name} | {LABELS[metric]: _shown(exam.rates.get(metric)) for metric in _OVER_ROUNDS} | {"gates": ruling}
        for name, exam, ruling in exams
    ]


def stage_rows(status: RunStatus) -> list[Row]:
    """How far each stage of a run is."""
    return [
        {"round": each.round, "stage": each.stage, "state": each.state, "parts": each.parts or None, "commits": _commits(each)}
        for each in status.stages
    ]


def _rows(labels: Mapping[str, str], base: Mapping[str, Rate], hardened: Mapping[str, Rate] | None) -> Iterator[Row]:
    for name, label in labels.items():
        if name in base:
            beside = {} if hardened is None else {"hardened": _shown(hardened[name])}
            yield {"metric": label, "base": _shown(base[name]), **beside, "n": base[name].total}


def _shown(rate: Rate | None) -> str | None:
    return str(rate) if rate and rate.total else None


def _ruling(accepted: bool, reasons: tuple[str, ...]) -> str:
    return "accepted" if accepted else f"rejected: {'; '.join(reasons)}"


def _commits(stage: StageStatus) -> str | None:
    return f"{stage.commits} kept, newest at step {stage.step}" if stage.commits else None
