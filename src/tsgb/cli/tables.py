"""From records to the rows a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tsgb.records.report import ExamReport

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


def comparison(outputs: Mapping[str, Any]) -> list[dict[str, object]]:
    """Base and hardened model side by side, a row for each metric, in percent with its interval."""
    before, after = ExamReport.model_validate(outputs["base"]), ExamReport.model_validate(outputs["exam"])
    return [
        {
            "metric": label,
            "base": str(before.rates[name]),
            "hardened": str(after.rates[name]),
            "n": after.rates[name].total,
        }
        for name, label in LABELS.items()
        if name in before.rates
    ]
