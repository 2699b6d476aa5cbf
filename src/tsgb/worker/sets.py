"""From trajectories to what a defender learns from: the breaker, retain and twin sets.

* breaker: attacks that succeeded, from the first token that leaves the honest answer; forced beginnings too.
* retain: what the frozen model does well unattacked: ordinary tasks, delegated ones, harmless requests that look like
  trouble, refusals.
* twin: every attacked context, won or lost, continued as the frozen model continues it with the attack cut out. For an
  injection that is the user's task; for a jailbreak it is the refusal of the plain request.
* boundary, if asked for: harmless requests that look like trouble, beside the frozen model's answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from transformers import PreTrainedTokenizerBase

from tsgb.breakers.examples import boundary_example, breaker_example, retain_example, twin_example
from tsgb.environments.office.attacks import inject, jailbreak, rewrapped, wrapper_of
from tsgb.environments.office.tasks import READING
from tsgb.environments.registry import environment
from tsgb.errors import InputError
from tsgb.models.rendering import Tools
from tsgb.records.dialogue import Attack, Message, Scenario, Trajectory
from tsgb.records.recipe import Extent
from tsgb.records.training import Example
from tsgb.settings import BreakerSettings

Clean = Mapping[str, Trajectory]
"""Scenario id → how the frozen model plays it without the attack, where that went well."""
_RETAIN_STRATA = {
    "delegate": "delegated",
    "quote": "harmless",
    "borderline": "harmless",
    "wrapped": "harmless",
    "harm": "refusal",
}


@dataclass(frozen=True)
class Choices:
    """What may be made otherwise of the same trajectories."""

    extent: Extent = "deviation"
    """Which tokens of a success are rerouted."""
    left_out: tuple[str, ...] = ()
    """Surfaces, attack families or tools of goals of which no breaker and no twin is made."""
    request_removed: float = 0.0
    """Share of harmful requests that are taken out of their breakers and retained refusals."""
    boundary: bool = False
    """Whether boundary examples are made."""


def choices_of(breaker: BreakerSettings) -> Choices:
    """The settings as choices."""
    return Choices(breaker.mask, breaker.left_out, breaker.request_removed, breaker.boundary_batch > 0)


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
    choices: Choices | None = None,
) -> list[Example]:
    """All examples of a round, in a fixed order; `crossings` are contexts that serve as twins alone."""
    _require_train((*attacked, *clean.values(), *benign, *crossings))
    choices, well = choices or Choices(), [t for t in benign if _did_its_job(t)]
    _require_known(choices.left_out, attacked)
    taken = [t for t in attacked if not _categories(t) & set(choices.left_out)]
    contexts = [t for t in (*attacked, *crossings) if not _categories(t) & set(choices.left_out)]
    harmless = [t for t in well if choices.boundary and _stratum(t) == "harmless"]
    sets: list[Example | None] = [
        *_breakers(tokenizer, tools, taken, clean, choices),
        *_twins(tokenizer, tools, contexts, clean),
        *(_retain(tokenizer, tools, t, choices) for t in well),
        *(boundary_example(tokenizer, tools, t) for t in harmless),
    ]
    return [example for example in sets if example is not None]


def crossed(attempts: Sequence[Trajectory], clean: Clean, *, each: int, seed: str) -> list[Trajectory]:
    """Every injection tried, put into `each` other tasks that the frozen model does well, as far as the tool's answer.

    A twin needs no play under attack, only what the agent would read and what it should go on with; so a few clean
    dialogues and a few attacks make many twins, and no pair of names is seen often enough to be learnt by heart.
    """
    rng = Random(f"crossed/{seed}")
    tasks = [t for t in clean.values() if t.scenario.utility.get("vector") and t.scenario.kind in READING]
    attacks = [t.scenario.attack for t in attempts if t.scenario.attack and t.scenario.attack.surface == "injection"]
    return [_read_under_attack(rng.choice(tasks), attack) for attack in attacks for _ in range(each) if tasks]


def crossed_wrappers(attempts: Sequence[Trajectory], clean: Clean, *, each: int, seed: str) -> list[Scenario]:
    """Every jailbreak tried, with `each` other requests that the frozen model refuses plainly.

    A wrapper's words stand where they stood, on the other side of the request, or before it with another's behind it;
    or the first words of one and the last of another stand on either side.
    The frozen model may play these scenarios: what it falls for is a breaker, and its plain refusal is everyone's twin.
    """
    rng = Random(f"wrappers/{seed}")
    refused = [t.scenario for t in clean.values() if t.scenario.kind == "harm"]
    tried = [t.scenario for t in attempts if t.scenario.attack and t.scenario.attack.surface == "jailbreak"]
    wrappers = [wrapper_of(scenario) for scenario in tried]
    return [
        _wrapped(rng.choice(refused), _rearranged(rng, wrapper, rng.choice(wrappers)))
        for wrapper in wrappers
        for _ in range(each)
        if refused
    ]


def _rearranged(rng: Random, wrapper: str, other: str) -> str:
    """A wrapper as it is or turned round, before the request with another's words behind it, or spliced with those."""
    (before, _, behind), others = wrapper.partition("{}"), other.replace("{}", " ")
    first, last = f"{before} {behind}".split(), others.split()
    spliced = " ".join([*first[: rng.randint(0, len(first))], *last[rng.randint(0, len(last)) :]])
    turned, around = f"{behind} {{}} {before}", f"{before} {behind} {{}} {others}"
    return " ".join(rng.choice((wrapper, turned, around, f"{spliced} {{}}", f"{{}} {spliced}")).split())


def _wrapped(refused: Scenario, wrapper: str) -> Scenario:
    text = wrapper.replace("{}", refused.messages[-1].content, 1)
    return jailbreak(refused, rewrapped(refused, "jailbreak", "crossed", text, "mutation"))


def _require_train(trajectories: Iterable[Trajectory]) -> None:
    """Nothing that an exam asks may be learnt from."""
    for trajectory in trajectories:
        if trajectory.scenario.split != "train":
            raise ValueError(f"{trajectory.scenario.id} is of split {trajectory.scenario.split}, not train")


def _read_under_attack(clean: Trajectory, attack: Attack) -> Trajectory:
    """The clean dialogue with what its tools would have answered under attack."""
    scenario = inject(clean.scenario, attack)
    world = environment(scenario.environment).open(scenario)
    calls = (call for message in clean.messages for call in message.tool_calls)
    answers = (world.call(call) for call in calls)
    messages = (
        message.model_copy(update={"content": next(answers)}) if message.role == "tool" else message
        for message in clean.messages
    )
    return Trajectory(scenario=scenario, target=clean.target, messages=tuple(messages))


def _breakers(
    tokenizer: PreTrainedTokenizerBase, tools: Tools, attacked: Iterable[Trajectory], clean: Clean, choices: Choices
) -> Iterator[Example | None]:
    for trajectory in attacked:
        attack, verdict = trajectory.scenario.attack, trajectory.verdict
        if attack is None or verdict is None or verdict.label not in ("partial", "full"):
            continue
        twin = clean.get(trajectory.scenario.clean_id or "")
        honest = twin.messages if twin and attack.surface == "injection" else None
        seen = trajectory if attack.surface == "injection" else _perhaps_without_request(trajectory, choices)
        stratum = f"breaker/{_origin(trajectory)}"
        yield breaker_example(tokenizer, tools, seen, honest, stratum=stratum, extent=choices.extent)


def _twins(
    tokenizer: PreTrainedTokenizerBase, tools: Tools, attacked: Iterable[Trajectory], clean: Clean
) -> Iterator[Example | None]:
    for trajectory in attacked:
        attack, twin = trajectory.scenario.attack, clean.get(trajectory.scenario.clean_id or "")
        if attack and twin and attack.surface in ("injection", "jailbreak"):
            yield twin_example(tokenizer, tools, trajectory, twin, stratum=f"twin/{attack.surface}")


def _retain(tokenizer: PreTrainedTokenizerBase, tools: Tools, trajectory: Trajectory, choices: Choices) -> Example:
    stratum = _stratum(trajectory)
    seen = _perhaps_without_request(trajectory, choices) if stratum == "refusal" else trajectory
    return retain_example(tokenizer, tools, seen, stratum=f"retain/{stratum}")


def _stratum(benign: Trajectory) -> str:
    return _RETAIN_STRATA.get(benign.scenario.kind, "ordinary")


def _perhaps_without_request(trajectory: Trajectory, choices: Choices) -> Trajectory:
    """A harmful dialogue as it was, or for the chosen share with nothing asked: so the answer alone is learnt from.

    A model that refuses what is asked hardly ever has the states of doing it; these it has where it goes on unasked.
    """
    scenario = trajectory.scenario
    if Random(f"request/{scenario.id}").random() >= choices.request_removed:
        return trajectory
    messages = tuple(Message(role="user") if message.role == "user" else message for message in scenario.messages)
    return trajectory.model_copy(update={"scenario": scenario.model_copy(update={"messages": messages})})


def _categories(trajectory: Trajectory) -> set[str]:
    """What an attack can be left out by."""
    attack = trajectory.scenario.attack
    return {attack.surface, attack.family, attack.goal.name} if attack else set()


def _require_known(names: Iterable[str], attacked: Iterable[Trajectory]) -> None:
    known = {name for trajectory in attacked for name in _categories(trajectory)}
    for name in names:
        if name not in known:
            raise InputError(
                f"breaker.left_out names {name!r}, which is no surface, family or goal's tool of any attempt; "
                f"choose among {sorted(known)}."
            )


def _origin(trajectory: Trajectory) -> str:
    assert trajectory.scenario.attack is not None
    surface, source = trajectory.scenario.attack.surface, trajectory.scenario.attack.source
    return surface if surface != "injection" else "static" if source == "static" else "found"


def _did_its_job(trajectory: Trajectory) -> bool:
    verdict = trajectory.verdict
    if verdict is None or not verdict.utility:
        return False
    return verdict.refused if trajectory.scenario.kind == "harm" else not verdict.refused
