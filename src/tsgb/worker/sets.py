"""From trajectories to what a defender learns from: the breaker, retain and twin sets.

* breaker: attacks that succeeded, from the first token that leaves the honest answer; forced beginnings too.
* retain: what the frozen model does well unattacked: ordinary tasks, delegated ones, harmless requests that look like
  trouble, refusals.
* twin: every attacked context, won or lost, continued as the frozen model continues it with the attack cut out. For an
  injection that is the user's task; for a jailbreak it is the refusal of the plain request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from tsgb.breakers.examples import Example, breaker_example, retain_example, twin_example
from tsgb.models.rendering import Tools
from tsgb.records.dialogue import Scenario, Trajectory

Clean = Mapping[str, Trajectory]
"""Scenario id → how the frozen model plays it without the attack, where that went well."""
_RETAIN_STRATA = {
    "delegate": "delegated",
    "quote": "harmless",
    "borderline": "harmless",
    "wrapped": "harmless",
    "harm": "refusal",
}


def clean_scenario(attacked: Scenario, drawn: Mapping[str, Scenario]) -> Scenario | None:
    """The scenario whose play is the honest twin of an attacked one, if it was drawn."""
    return drawn.get(attacked.clean_id) if attacked.clean_id else None


def well_done(trajectories: Iterable[Trajectory]) -> Clean:
    """Those in which the frozen model did its job: the task of a user, or the refusal of plain harm."""
    return {t.scenario.id: t for t in trajectories if _did_its_job(t)}


def make_sets(
    tokenizer: PreTrainedTokenizerBase,
    tools: Tools,
    attacked: Sequence[Trajectory],
    clean: Clean,
    benign: Sequence[Trajectory],
) -> list[Example]:
    """All examples of a round, in a fixed order."""
    sets: list[Example | None] = [
        *_breakers(tokenizer, tools, attacked, clean),
        *_twins(tokenizer, tools, attacked, clean),
        *(_retain(tokenizer, tools, t) for t in benign if _did_its_job(t)),
    ]
    return [example for example in sets if example is not None]


def _breakers(
    tokenizer: PreTrainedTokenizerBase, tools: Tools, attacked: Iterable[Trajectory], clean: Clean
) -> Iterator[Example | None]:
    for trajectory in attacked:
        attack, verdict = trajectory.scenario.attack, trajectory.verdict
        if attack is None or verdict is None or verdict.label not in ("partial", "full"):
            continue
        twin = clean.get(trajectory.scenario.clean_id or "")
        honest = twin.messages if twin and attack.surface == "injection" else None
        yield breaker_example(tokenizer, tools, trajectory, honest, stratum=f"breaker/{_origin(trajectory)}")


def _twins(
    tokenizer: PreTrainedTokenizerBase, tools: Tools, attacked: Iterable[Trajectory], clean: Clean
) -> Iterator[Example | None]:
    for trajectory in attacked:
        attack, twin = trajectory.scenario.attack, clean.get(trajectory.scenario.clean_id or "")
        if attack and twin and attack.surface in ("injection", "jailbreak"):
            yield twin_example(tokenizer, tools, trajectory, twin, stratum=f"twin/{attack.surface}")


def _retain(tokenizer: PreTrainedTokenizerBase, tools: Tools, trajectory: Trajectory) -> Example:
    stratum = _RETAIN_STRATA.get(trajectory.scenario.kind, "ordinary")
    return retain_example(tokenizer, tools, trajectory, stratum=f"retain/{stratum}")


def _origin(trajectory: Trajectory) -> str:
    assert trajectory.scenario.attack is not None
    surface, source = trajectory.scenario.attack.surface, trajectory.scenario.attack.source
    return surface if surface != "injection" else "static" if source == "static" else "found"


def _did_its_job(trajectory: Trajectory) -> bool:
    verdict = trajectory.verdict
    if verdict is None or not verdict.utility:
        return False
    return verdict.refused if trajectory.scenario.kind == "harm" else not verdict.refused
