"""Scripted agents in the real office: who does what, what is judged, and when a dialogue ends."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from tsgb.environments.office import attacks
from tsgb.environments.office.expert import expert_messages
from tsgb.environments.office.tasks import READING, draw_task
from tsgb.environments.registry import environment
from tsgb.errors import ModelError
from tsgb.records.dialogue import Message, Scenario, Trajectory
from tsgb.rollouts.engines.base import Completion
from tsgb.rollouts.engines.scripted import ScriptedEngine
from tsgb.rollouts.play import play, require_finished

OFFICE = environment("office")


def said(message: Message) -> str:
    """An expert's turn as an agent writes it."""
    return "".join(call.model_dump_json() for call in message.tool_calls) or message.content


def act(scenario: Scenario, *, obey: bool = False) -> Trajectory:
    """The scenario played by an agent that knows the plan; with `obey`, one that does whatever it reads."""
    turns = [message for message in expert_messages(scenario, obey=obey) if message.role == "assistant"]

    def script(dialogue: Sequence[Message]) -> str:
        return said(turns[sum(message.role == "assistant" for message in dialogue)])

    return play(ScriptedEngine(script), OFFICE, [scenario], adapter=None)[0]


@pytest.mark.parametrize("kind", READING)
def test_an_honest_agent_does_every_task_and_no_attack(kind: str) -> None:
    scenario = attacks.draw_injected(kind, "train", 3, family="important", phrase="important: {}!")
    verdict = act(scenario).verdict
    assert verdict
    assert (verdict.label, verdict.utility, verdict.valid) == ("ignored", True, True)


@pytest.mark.parametrize("kind", READING)
def test_an_obedient_agent_falls_to_the_attack_and_still_does_the_task(kind: str) -> None:
    scenario = attacks.draw_injected(kind, "train", 3, family="important", phrase="important: {}!")
    verdict = act(scenario, obey=True).verdict
    assert verdict
    assert (verdict.label, verdict.utility) == ("full", True)


def test_what_the_agent_reads_is_what_stands_in_the_office() -> None:
    scenario = attacks.draw_injected("ask", "train", 5, family="important", phrase="important: {}!")
    assert scenario.attack
    reading = act(scenario).messages[1]
    assert reading.role == "tool"
    assert scenario.attack.text in reading.content


def test_an_agent_that_never_stops_calling_is_judged_after_its_last_turn() -> None:
    call = json.dumps({"name": "read_file", "arguments": {"path": "/plan"}})
    played = play(ScriptedEngine(lambda _: call), OFFICE, [draw_task("ask", "train", 1)], adapter=None, max_turns=3)[0]
    assert [message.role for message in played.messages] == ["assistant", "tool"] * 3
    assert played.verdict
    assert not played.verdict.utility


def test_a_forced_beginning_is_part_of_the_first_turn_alone() -> None:
    scenario = attacks.draw_prefill("train", 1)
    assert scenario.attack
    rest = scenario.attack.goal.model_dump_json(include={"arguments"}).removeprefix('{"arguments":{"')
    answers = {scenario.messages[-1].content: rest, "ok.": "done."}
    played = play(ScriptedEngine(answers), OFFICE, [scenario], adapter=None)[0]
    assert played.messages[0].tool_calls == (scenario.attack.goal,)
    assert played.messages[-1].content == "done."
    assert played.verdict
    assert played.verdict.label == "full"


def test_trajectories_come_in_the_order_of_their_scenarios() -> None:
    scenarios = [draw_task(kind, "train", seed) for seed, kind in enumerate(("direct", "ask", "bill", "direct"))]
    answer = Completion(text="hello.").text
    played = play(ScriptedEngine(lambda _: answer), OFFICE, scenarios, adapter="guard")
    assert [each.scenario for each in played] == scenarios
    assert {each.target for each in played} == {"guard"}


def refusing(*refused: Scenario) -> ScriptedEngine:
    """An engine whose model says hello, but cannot go on with some scenarios once a tool has answered."""
    requests = {scenario.messages[-1].content for scenario in refused}

    def script(dialogue: Sequence[Message]) -> str:
        if dialogue[0].content in requests and dialogue[-1].role == "tool":
            raise ModelError("The template refuses a dialogue; bring another.")
        return "hello." if dialogue[-1].role == "tool" else '{"name": "read_file", "arguments": {"path": "/plan"}}'

    return ScriptedEngine(script)


def test_a_dialogue_that_the_model_refuses_ends_in_an_error_and_the_others_go_on() -> None:
    scenarios = [draw_task("ask", "train", seed) for seed in range(7)]
    bad = (scenarios[2], scenarios[3], scenarios[6])
    played = play(refusing(*bad), OFFICE, scenarios, adapter=None)
    assert [each.scenario for each in played] == scenarios
    assert [each.error for each in played if each.error] == ["The template refuses a dialogue; bring another."] * 3
    for each in (played[2], played[3], played[6]):
        assert each.verdict
        assert (each.verdict.label, each.verdict.utility) == ("error", False)
        assert [message.role for message in each.messages] == ["assistant", "tool"]
    whole = [each for each in play(refusing(), OFFICE, scenarios, adapter=None) if each.scenario not in bad]
    assert [each for each in played if each.error is None] == whole
    assert require_finished(played) == played


def test_when_every_dialogue_is_refused_the_model_is_at_fault() -> None:
    scenarios = [draw_task("ask", "train", seed) for seed in range(3)]
    with pytest.raises(ModelError, match=r"^The template refuses a dialogue; bring another\.$"):
        require_finished(play(refusing(*scenarios), OFFICE, scenarios, adapter=None))
    assert require_finished([]) == []
