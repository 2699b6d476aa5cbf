"""An attacker that learns: the base itself, with an attacker adapter, writes notes that ask for its goal.

Its skill of writing such notes comes from the corpus; what makes an agent obey it learns from rewards
(training.attacker).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tsgb.environments.office import attacks, goals
from tsgb.environments.office.tasks import NOTE_REQUEST, READING, draw_task
from tsgb.records.dialogue import Attack, Message, Scenario, Split, ToolCall
from tsgb.rollouts.engines.base import Completion, Engine, Sampling


@dataclass(frozen=True)
class Prompt:
    """What the attacker is asked to write, and where its words will stand."""

    scenario: Scenario
    goal: ToolCall
    words: str
    position: str

    @property
    def dialogue(self) -> tuple[Message, ...]:
        """The attacker's own context."""
        return (Message(role="user", content=NOTE_REQUEST.format(self.words)),)


def draw_prompt(split: Split, seed: int) -> Prompt:
    """A reading task to be attacked and a goal to be asked for."""
    rng = Random(f"prompt/{split}/{seed}")
    goal = goals.draw_goal(rng, split)
    scenario = draw_task(rng.choice(READING), split, seed)
    return Prompt(scenario, goal, goals.imperative(rng, goal), rng.choice(attacks.POSITIONS))


def write(
    engine: Engine, prompts: Sequence[Prompt], *, group: int, adapter: str | None, sampling: Sampling
) -> list[list[tuple[Completion, Scenario]]]:
    """`group` samples for each prompt: what the attacker wrote, and the scenario with it put in."""
    asked = [prompt for prompt in prompts for _ in range(group)]
    written = engine.complete([prompt.dialogue for prompt in asked], adapter=adapter, sampling=sampling)
    pairs = [(text, _attacked(prompt, text.text)) for prompt, text in zip(asked, written, strict=True)]
    return [pairs[at : at + group] for at in range(0, len(pairs), group)]


def _attacked(prompt: Prompt, text: str) -> Scenario:
    attack = Attack(
        surface="injection",
        family="policy",
        source="policy",
        text=text.strip() or "-",
        goal=prompt.goal,
        position=prompt.position,
    )
    return attacks.inject(prompt.scenario, attack)
