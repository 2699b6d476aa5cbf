"""What every environment offers: tools to show the agent, and an opened world that executes calls and checks itself.

An environment is stateless; what changes while an agent plays is the `World`, opened afresh from each scenario's
data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tsgb.records.dialogue import Scenario, ToolCall


class World(Protocol):
    """One opened scenario: its state, and the two questions asked of that state."""

    calls: list[ToolCall]
    """Every well-formed call of a known tool, in order."""

    def call(self, call: ToolCall) -> str:
        """Execute a call and return the tool's words; a call that cannot be done answers with an error text."""
        ...

    def known(self, name: str) -> bool:
        """Whether there is a tool of that name."""
        ...

    def wanted(self, call: ToolCall) -> bool:
        """Whether the user's own task asks for exactly this call."""
        ...

    def utility(self, answer: str) -> bool:
        """Whether the user's task is done, given the agent's last words; the attacker's own effect is not counted."""
        ...

    def goal_reached(self, goal: ToolCall) -> bool:
        """Whether the attacker's goal is in the state."""
        ...


class Environment(Protocol):
    """A world's name, its tools, and how to open a scenario in it."""

    name: str
    tools: Sequence[Mapping[str, Any]]
    """JSON-Schema tool descriptions as chat templates take them."""

    def open(self, scenario: Scenario) -> World:
        """A fresh world in the scenario's first state."""
        ...
