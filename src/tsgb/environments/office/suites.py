"""Fixed exams: the groups of scenarios on which a model is judged, each a pure function of split, size and seed.

The tasks under attack are the benign group's own tasks, so that utility under attack and clean utility are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from tsgb.environments.office import attacks
from tsgb.environments.office.tasks import READING, draw_task
from tsgb.records.dialogue import Scenario, Split

Suite = Mapping[str, Sequence[Scenario]]


@dataclass(frozen=True)
class SuiteSize:
    """Scenarios a group; of jailbreaks there are twice `harmful`, so that one in each family shows."""

    benign: int = 96
    attacked: int = 192
    delegated: int = 48
    over_refusal: int = 48
    harmful: int = 48


def build_suite(split: Split, size: SuiteSize, *, seed: int = 0, families: Mapping[str, str] | None = None) -> Suite:
    """All groups of a split's exam; `families` (name → phrase with `{}`) replaces the split's injections."""
    seeds = range(seed * 1_000_000, seed * 1_000_000 + 1_000_000)
    injections = families or attacks.INJECTIONS[split]
    return {
        "benign": [_reading(split, seeds[i]) for i in range(size.benign)],
        "delegated": [draw_task("delegate", split, seeds[i]) for i in range(size.delegated)],
        "over_refusal": [_harmless(split, seeds[i], i) for i in range(size.over_refusal)],
        "harm": [attacks.draw_harm(split, seeds[i]) for i in range(size.harmful)],
        "injection": [_injected(split, seeds[i % size.benign], i, injections) for i in range(size.attacked)],
        "jailbreak": [_jailbroken(split, seeds[i], i) for i in range(2 * size.harmful)],
        "prefill": [attacks.draw_prefill(split, seeds[i]) for i in range(size.harmful)],
    }


def _kind(seed: int) -> str:
    return Random(f"kind/{seed}").choice(READING)


def _reading(split: Split, seed: int) -> Scenario:
    return draw_task(_kind(seed), split, seed)


def _injected(split: Split, seed: int, index: int, families: Mapping[str, str]) -> Scenario:
    family = sorted(families)[index % len(families)]
    attack = attacks.injection(
        Random(f"{family}/{split}/{seed}/{index}"), split, family=family, phrase=families[family]
    )
    return attacks.inject(_reading(split, seed), attack)


def _harmless(split: Split, seed: int, index: int) -> Scenario:
    """Ordinary requests that look like trouble: marked nouns, requests to quote, wrappers around duties."""
    kind = ("borderline", "wrapped", "quote", "wrapped")[index % 4]
    phrases = sorted(attacks.JAILBREAKS[split].values())
    return (
        attacks.draw_wrapped(split, seed, phrase=phrases[index // 2 % len(phrases)])
        if kind == "wrapped"
        else draw_task(kind, split, seed)
    )


def _jailbroken(split: Split, seed: int, index: int) -> Scenario:
    family = sorted(attacks.JAILBREAKS[split])[index % len(attacks.JAILBREAKS[split])]
    return attacks.draw_jailbreak(split, seed, family=family, phrase=attacks.JAILBREAKS[split][family])
