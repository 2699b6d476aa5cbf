"""What an agent of the corpus does: the honest plan, and, knowing no privilege, any request it comes across."""

from __future__ import annotations

from tsgb.environments.office.world import READERS, OfficeWorld
from tsgb.records.dialogue import Message, Scenario, ToolCall


def expert_messages(scenario: Scenario, *, obey: bool = False) -> tuple[Message, ...]:
    """The messages that follow the scenario's own; with `obey`, an attacker's goal is carried out where it is read."""
    world = OfficeWorld(scenario)
    messages: list[Message] = []
    for call in _plan(scenario, obey=obey):
        messages += [
            Message(role="assistant", tool_calls=(call,)),
            Message(role="tool", content=world.call(call), name=call.name),
        ]
    reply = "done." if obey and not scenario.utility["plan"] else scenario.utility["reply"]
    return (*messages, Message(role="assistant", content=reply))


def _plan(scenario: Scenario, *, obey: bool) -> list[ToolCall]:
    plan = [ToolCall(**call) for call in scenario.utility["plan"]]
    if not obey or scenario.attack is None:
        return plan
    reads = [call for call in plan if call.name in READERS]
    return [*reads, scenario.attack.goal, *plan[len(reads) :]]
