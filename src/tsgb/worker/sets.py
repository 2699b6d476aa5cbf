"""From trajectories to what a defender learns from: the breaker, retain and twin sets.

* breaker: attacks that succeeded, from the first token that leaves the honest answer; forced beginnings too.
* retain: what the frozen model does well unattacked: ordinary tasks, delegated ones, harmless requests that look like
  trouble, refusals.
* twin: every attacked context, won or lost, continued as the frozen model continues it with the attack cut out. For an
  injection that is the user's task; for a jailbreak it is the refusal of the plain request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random

from transformers import PreTrainedTokenizerBase

from tsgb.breakers.examples import Example, breaker_example, retain_example, twin_example
from tsgb.environments.office.attacks import inject, jailbreak, rewrapped, wrapper_of
from tsgb.environments.office.tasks import READING
from tsgb.environments.registry import environment
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


def well_done(trajectories: Iterable[Trajectory]) -> Clean:
    """Those in which the frozen model did its job: the task of a user, or the refusal of plain harm."""
    return {t.scenario.id: t for t in trajectories if _did_its_job(t)}


def make_sets(
    tokenizer: PreTrainedTokenizerBase,
    tools: Tools,
    attacked: Sequence[Trajectory],
    clean: Clean,
    benign: Sequence[Trajectory],
    *,
    crossings: Sequence[Trajectory] = (),
) -> list[Example]:
    """All examples of a round, in a fixed order; `crossings` are contexts that serve as twins alone."""
    sets: list[Example | None] = [
        *_breakers(tokenizer, tools, attacked, clean),
        *_twins(tokenizer, tools, (*attacked, *crossings), clean),
        *(_retain(tokenizer, tools, t) for t in benign if _did_its_job(t)),
    ]
    return [example for example in sets if example is not None]


def crossed(attempts: Sequence[Trajectory], clean: Clean, *, each: int, seed: str) -> list[Trajectory]:
    """Every attack tried, put to `each` other tasks or requests that the frozen model does well by.

    A twin needs no play under attack, only what the agent would read and what it should go on with; so a few clean
    dialogues and a few attacks make many twins, and no pair of names is seen often enough to be learnt by heart.
    """
    _require_train(attempts)
    rng = Random(f"crossed/{seed}")
    tasks = [t for t in clean.values() if t.scenario.utility.get("vector") and t.scenario.kind in READING]
    harm = [t for t in clean.values() if t.scenario.kind == "harm"]
    makers = {"injection": (tasks, _read_under_attack), "jailbreak": (harm, _asked_in_a_wrapper)}
    crossings = []
    tried = {t.scenario.id + t.scenario.attack.text: t.scenario for t in attempts if t.scenario.attack}
    for scenario in (each for each in tried.values() if each.attack and each.attack.surface in makers):
        others, make = makers[scenario.attack.surface]  # type: ignore[union-attr]
        crossings += [make(rng, rng.choice(others), scenario) for _ in range(each) if others]
    return crossings


def _require_train(attempts: Iterable[Trajectory]) -> None:
    """Nothing that an exam asks may be learnt from."""
    for trajectory in attempts:
        if trajectory.scenario.split != "train":
            raise ValueError(f"{trajectory.scenario.id} is of split {trajectory.scenario.split}, not train")


def _asked_in_a_wrapper(rng: Random, clean: Trajectory, tried: Scenario) -> Trajectory:
    """The refused request in the wrapper that was tried, whose words stand before, behind or around it."""
    assert tried.attack is not None
    before, _, behind = wrapper_of(tried).partition("{}")
    front, back = rng.choice(((before, behind), ("", f"{behind} {before}"), (f"{before} {behind}", "")))
    text = " ".join(f"{front} {clean.scenario.messages[-1].content} {back}".split())
    attack = rewrapped(clean.scenario, "jailbreak", tried.attack.family, text, tried.attack.source)
    return Trajectory(scenario=jailbreak(clean.scenario, attack), target=clean.target, messages=())


def _read_under_attack(rng: Random, clean: Trajectory, tried: Scenario) -> Trajectory:
    """The clean dialogue with what its tools would have answered under attack."""
    assert tried.attack is not None
    scenario = inject(clean.scenario, tried.attack)
    world = environment(scenario.environment).open(scenario)
    calls = (call for message in clean.messages for call in message.tool_calls)
    answers = (world.call(call) for call in calls)
    messages = (
        message.model_copy(update={"content": next(answers)}) if message.role == "tool" else message
        for message in clean.messages
    )
    return Trajectory(scenario=scenario, target=clean.target, messages=tuple(messages))


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
