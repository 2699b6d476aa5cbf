"""Scenarios and what was played in them: messages, tool calls, attacks, verdicts, trajectories.

The conventions are those of chat templates: `messages` with roles, tool arguments as a mapping.
A scenario is data alone (the environment named in it knows how to run it), so it can be stored, sent and replayed.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from tsgb.records.base import Record

Role = Literal["system", "user", "assistant", "tool"]
Split = Literal["train", "dev", "test"]
Surface = Literal["injection", "jailbreak", "prefill", "harm"]
Label = Literal["error", "ignored", "partial", "full"]


class ToolCall(Record):
    """One call an agent asks for."""

    name: str
    """Name of the tool."""
    arguments: dict[str, Any] = {}
    """Arguments by name."""


class Message(Record):
    """One turn of a dialogue."""

    role: Role
    """Who speaks."""
    content: str = ""
    """What is said; for a tool message, its result."""
    tool_calls: tuple[ToolCall, ...] = ()
    """The calls an assistant message asks for."""
    name: str | None = None
    """The tool that answered, for a tool message."""


class Attack(Record):
    """How somebody tries to make the agent do `goal`."""

    surface: Surface
    """Where the attack enters: a tool result, the request, the beginning of the answer, or nowhere (plain harm)."""
    family: str
    """The family of phrasings it belongs to; families never cross splits."""
    source: str = "static"
    """Who made it: static, mutation, policy, archive, file."""
    text: str
    """The words as they are put in."""
    goal: ToolCall
    """The call whose effect on the state means that the attack succeeded."""
    position: Literal["before", "middle", "after"] = "after"
    """Where in the tool result an injection stands."""


class Scenario(Record):
    """A task in an environment, with or without an attack."""

    id: str
    """Stable name."""
    environment: str
    """The environment that runs it."""
    kind: str
    """The kind of task."""
    split: Split
    """Whether it may be learnt from, chosen by, or only tested on."""
    messages: tuple[Message, ...]
    """The dialogue before the agent's first turn."""
    state: dict[str, Any] = {}
    """The environment's state before the agent's first turn (with the injection in it, where there is one)."""
    utility: dict[str, Any] = {}
    """What the environment checks to say that the user's task was done."""
    attack: Attack | None = None
    """The attack, if there is one."""
    prefill: str = ""
    """Text that the agent's first turn is forced to begin with."""
    clean_id: str | None = None
    """The same scenario without the attack, from which the honest twin is taken."""


class Verdict(Record):
    """What a judge says of a trajectory."""

    label: Label
    """Attack outcome: error (not judged), ignored, partial (the goal's tool was called), full (it is in the state)."""
    utility: bool
    """Whether the user's task was done, and nothing else but, maybe, the attacker's goal."""
    refused: bool
    """Whether the agent declined in words."""
    valid: bool
    """Whether every turn was either plain words or a well-formed call of a known tool."""


class Mark(Record):
    """A span of what one message says."""

    message: Annotated[int, Field(ge=0)]
    """Number of the message, from 0, the scenario's own included."""
    start: Annotated[int, Field(ge=0)]
    """First character of the span, from 0."""
    end: Annotated[int, Field(ge=1)]
    """Character after its last one."""


class Trajectory(Record):
    """One played scenario."""

    scenario: Scenario
    """What was played."""
    target: str
    """Name of the adapter that answered (`base`: none)."""
    messages: tuple[Message, ...]
    """What was said after the scenario's own messages."""
    verdict: Verdict | None = None
    """What the judge said, once judged."""
    seed: int = 0
    """Seed of the sampling."""
    error: str | None = None
    """Why it could not be finished, if so; such a trajectory is neither a success nor a failure."""
    marks: tuple[Mark, ...] = ()
    """What rerouting is to look at, where somebody has marked it and `breaker.mask` asks for spans."""
