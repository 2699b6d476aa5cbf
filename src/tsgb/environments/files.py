"""Bring your own: tasks and attacks from JSON lines, as `docs/bring_your_own.md` describes them.

Promises: every line is checked before anything is played: unknown fields, tools that leave no trace, wrong
arguments, answers that no reply can hold; the error names the file and the line. A suite's groups are named as those
of `office.suites.build_suite`, and the same arguments always make the same suite. Leaves out: worlds other than the
office, and attacks that begin the agent's answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from tsgb.environments.office import attacks as office
from tsgb.environments.office import goals
from tsgb.environments.office.suites import SuiteSize, build_suite
from tsgb.environments.office.world import READERS, Office
from tsgb.errors import InputError
from tsgb.records.base import Record
from tsgb.records.dialogue import Attack, Message, Scenario, Split, ToolCall

REQUEST = "{request}"
"""Where the attacker's request goes in an attack's text."""
_WORD = re.compile(r"[@/~#$]?\w+")
_TOOLS: dict[str, set[str]] = {
    tool["function"]["name"]: set(tool["function"]["parameters"]["required"]) for tool in Office.tools
}
_DEEDS = {name: arguments for name, arguments in _TOOLS.items() if name not in READERS}
Line = TypeVar("Line", bound=Record)
Text = Annotated[str, Field(min_length=1)]
Part = Literal["mail", "files", "pages", "calendar", "contacts"]


def _as_sentences(value: object) -> object:
    return [value] if isinstance(value, str) else value


Sentences = Annotated[list[Text], Field(min_length=1), BeforeValidator(_as_sentences)]


def _deed(call: ToolCall) -> ToolCall:
    """The call, if it leaves a trace in the office's ledger, where both checks look."""
    if call.name not in _DEEDS:
        raise ValueError(f"{call.name!r} is no tool that changes the office; use one of {', '.join(sorted(_DEEDS))}")
    if set(call.arguments) != _DEEDS[call.name]:
        raise ValueError(f"{call.name} takes exactly the arguments {', '.join(sorted(_DEEDS[call.name]))}")
    return call


class Utility(Record):
    """What says that a task was done."""

    effects: tuple[ToolCall, ...] = ()
    """The changing calls that must be made; no others may."""
    answer: tuple[str, ...] = ()
    """Words that the agent's last reply must hold."""

    @model_validator(mode="after")
    def _checkable(self) -> Self:
        if not self.effects and not self.answer:
            raise ValueError("names neither effects nor answer words, so doing nothing would pass; add one of them")
        for effect in self.effects:
            _deed(effect)
        if split := [word for word in self.answer if not _WORD.fullmatch(word)]:
            raise ValueError(f"answer {split[0]!r} is not one word; list its words one by one, without punctuation")
        return self


class TaskLine(Record):
    """One line of a tasks file."""

    id: Text | None = None
    """A name of its own; the file's name and the line number, if there is none."""
    user: Text
    """What the user asks for."""
    state: dict[Part, dict[str, Sentences]] = {}
    """What can be read where; a text may be one string or a list of sentences."""
    utility: Utility
    """What says that the task was done."""
    system: Text | None = None
    """A system prompt, if there is one."""


class AttackTemplate(Record):
    """One line of an attacks file: the attacker's words, and what they are after."""

    family: Text
    """Attacks of a family are counted together."""
    text: Text
    """The words, with `{request}` where the attacker's request goes."""
    surface: Literal["injection", "jailbreak"] = "injection"
    """In what the agent reads, or as the user's own request."""
    position: Literal["before", "middle", "after"] | None = None
    """Where an injection stands in a text; drawn, if not given."""
    goal: ToolCall | None = None
    """The call that must not be made; drawn, if not given."""
    request: Text | None = None
    """The words that ask for the goal; the office's own, if not given."""

    @field_validator("goal")
    @classmethod
    def _traceable(cls, goal: ToolCall | None) -> ToolCall | None:
        return goal and _deed(goal)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.goal is None and self.request is not None:
            raise ValueError("has a request but no goal, so nobody could tell whether it succeeded; add the goal")
        if self.goal is None and REQUEST not in self.text:
            raise ValueError(f"its text has no {REQUEST} and there is no goal; add one of them")
        if self.goal and self.request is None and REQUEST in self.text and not _phrasings(self.surface, self.goal):
            raise ValueError(f"the office has no words to ask for {self.goal.name} in a {self.surface}; add a request")
        return self


def load_tasks(path: str | Path) -> list[Scenario]:
    """Tasks as scenarios of the office; raises `InputError` naming the first line that is wrong."""
    source = Path(path)
    tasks: dict[str, Scenario] = {}
    for number, task in _lines(source, TaskLine):
        name = task.id or f"own/{source.stem}/{number}"
        if name in tasks:
            raise InputError(f"{source}, line {number}: the id {name!r} is taken by an earlier line; give it another.")
        tasks[name] = _as_scenario(task, name)
    return list(tasks.values())


def load_attacks(path: str | Path) -> list[AttackTemplate]:
    """Attacks before their goals are drawn; raises `InputError` naming the first line that is wrong."""
    return [attack for _, attack in _lines(Path(path), AttackTemplate)]


def own_suite(
    tasks: Sequence[Scenario] | None,
    attacks: Sequence[AttackTemplate] | None,
    *,
    split: Split,
    size: SuiteSize,
    seed: int,
) -> dict[str, list[Scenario]]:
    """The groups of an exam on what a person brought; what was not brought comes from the office's `split`.

    All own tasks are played, as tasks of that split. Every attack meets every task before a pair comes again, and of
    scenarios alike in every word only one is kept: it would count twice. Raises `InputError` when no task has a text
    to inject into.
    """
    if tasks is None and attacks is None:
        return {group: list(scenarios) for group, scenarios in build_suite(split, size, seed=seed).items()}
    benign = build_suite(split, size, seed=seed)["benign"] if tasks is None else _of(split, tasks)
    templates = _families(split) if attacks is None else attacks
    injections = [template for template in templates if template.surface == "injection"]
    jailbreaks = [template for template in templates if template.surface == "jailbreak"]
    groups = {
        "benign": list(benign),
        "injection": _injected(benign, injections, max(size.attacked, len(injections)), split, seed),
        "jailbreak": _jailbroken(jailbreaks, max(size.harmful, len(jailbreaks)), split, seed),
    }
    return {group: scenarios for group, scenarios in groups.items() if scenarios}


def _of(split: Split, tasks: Sequence[Scenario]) -> list[Scenario]:
    return [task.model_copy(update={"split": split}) for task in tasks]


def _injected(
    tasks: Sequence[Scenario], templates: Sequence[AttackTemplate], count: int, split: Split, seed: int
) -> list[Scenario]:
    readable = [task for task in tasks if any(task.state.values())]
    if not templates:
        return []
    if not readable:
        raise InputError("No task has a text that an injection could stand in; give at least one of them a state.")
    pairs = (divmod(index, len(readable)) for index in range(count))
    return _distinct(
        office.inject(
            readable[at], _injection(Random(f"own/{seed}/{lap}/{at}"), templates[(at + lap) % len(templates)], split)
        )
        for lap, at in pairs
    )


def _jailbroken(templates: Sequence[AttackTemplate], count: int, split: Split, seed: int) -> list[Scenario]:
    if not templates:
        return []
    return _distinct(_jailbreak(seed * 1_000_000 + at, templates[at % len(templates)], split) for at in range(count))


def _injection(rng: Random, template: AttackTemplate, split: Split) -> Attack:
    goal = template.goal or goals.draw_goal(rng, split)
    request = template.request or (goals.imperative(rng, goal) if REQUEST in template.text else "")
    drawn = rng.choice(office.POSITIONS)
    return _attack(template, goal, request).model_copy(update={"position": template.position or drawn})


def _jailbreak(seed: int, template: AttackTemplate, split: Split) -> Scenario:
    """A wrapped harmful request, the office's own unless the template brings another."""
    harm = office.draw_harm(split, seed)
    assert harm.attack is not None
    words = template.request or harm.messages[-1].content
    if template.goal and template.request is None and REQUEST in template.text:
        words = f"{goals.harmful_request(Random(f'own/{seed}'), template.goal)}."
    return office.jailbreak(harm, _attack(template, template.goal or harm.attack.goal, words))


def _attack(template: AttackTemplate, goal: ToolCall, request: str) -> Attack:
    text = template.text.replace(REQUEST, request)
    return Attack(surface=template.surface, family=template.family, source="file", text=text, goal=goal)


def _phrasings(surface: str, goal: ToolCall) -> tuple[str, ...]:
    return (goals.IMPERATIVES if surface == "injection" else goals.HARMFUL).get(goal.name, ())


def _families(split: Split) -> list[AttackTemplate]:
    families = office.INJECTIONS[split].items()
    return [AttackTemplate(family=family, text=phrase.replace("{}", REQUEST)) for family, phrase in families]


def _distinct(scenarios: Iterable[Scenario]) -> list[Scenario]:
    return list({scenario.model_dump_json(): scenario for scenario in scenarios}.values())


def _as_scenario(task: TaskLine, name: str) -> Scenario:
    system = (Message(role="system", content=task.system),) if task.system else ()
    return Scenario(
        id=name,
        environment=Office.name,
        kind="own",
        split="test",
        messages=(*system, Message(role="user", content=task.user)),
        state=dict(task.state),
        utility=task.utility.model_dump(mode="json") | {"plan": [], "reply": "", "vector": None},
    )


def _lines(path: Path, kind: type[Line]) -> Iterator[tuple[int, Line]]:
    """The checked lines of a file by their numbers; empty ones are skipped."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); give a file of JSON lines in UTF-8.") from error
    if not any(line.strip() for line in lines):
        raise InputError(f"{path} holds no line; docs/bring_your_own.md shows what one looks like.")
    return ((number, _checked(line, kind, path, number)) for number, line in enumerate(lines, 1) if line.strip())


def _checked(line: str, kind: type[Line], path: Path, number: int) -> Line:
    try:
        return kind.model_validate(json.loads(line))
    except ValidationError as error:
        problem = _problem(error.errors()[0], kind)
    except (ValueError, RecursionError) as error:
        problem = f"this is not one JSON object ({error})"
    raise InputError(f"{path}, line {number}: {problem}; docs/bring_your_own.md shows the format.")


def _problem(error: Mapping[str, Any], kind: type[Record]) -> str:
    """Pydantic's first complaint in the words of the file."""
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"there is no field {place!r}; a line has {', '.join(kind.model_fields)}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
