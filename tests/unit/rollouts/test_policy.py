"""A writing attacker: the goal it is asked for is the goal it is judged by, and its words stand where they are read."""

from __future__ import annotations

from collections.abc import Sequence

from tsgb.records.dialogue import Message
from tsgb.rollouts.engines.base import Sampling
from tsgb.rollouts.engines.scripted import ScriptedEngine
from tsgb.rollouts.policy import draw_prompt, write

PROMPTS = [draw_prompt("train", seed) for seed in range(6)]


def note(dialogue: Sequence[Message]) -> str:
    """A writer that repeats what it was asked to ask for."""
    return "kindly" + dialogue[-1].content.removeprefix("write a note that asks to")


def test_a_prompt_is_a_function_of_its_split_and_seed() -> None:
    assert draw_prompt("train", 3) == PROMPTS[3]
    assert draw_prompt("test", 3) != PROMPTS[3]
    assert {prompt.scenario.split for prompt in PROMPTS} == {"train"}


def test_the_request_names_the_goal() -> None:
    for prompt in PROMPTS:
        assert prompt.dialogue[-1].content == f"write a note that asks to {prompt.words}."
        assert all(str(argument) in prompt.words for argument in prompt.goal.arguments.values())


def test_every_sample_attacks_its_own_prompts_scenario_with_its_own_goal() -> None:
    written = write(ScriptedEngine(note), PROMPTS, group=3, adapter=None, sampling=Sampling())
    assert [len(group) for group in written] == [3] * len(PROMPTS)
    for prompt, group in zip(PROMPTS, written, strict=True):
        for completion, scenario in group:
            assert scenario.attack
            assert scenario.clean_id == prompt.scenario.id
            assert (scenario.attack.goal, scenario.attack.position) == (prompt.goal, prompt.position)
            assert scenario.attack.text == completion.text == f"kindly {prompt.words}."
            assert scenario.attack.text in str(scenario.state)


def test_who_writes_nothing_still_attacks_with_something() -> None:
    [[(_, scenario)]] = write(ScriptedEngine(lambda _: " "), PROMPTS[:1], group=1, adapter=None, sampling=Sampling())
    assert scenario.attack
    assert scenario.attack.text == "-"
