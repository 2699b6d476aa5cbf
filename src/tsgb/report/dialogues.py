"""The dialogues of a run, found in storage and made readable: who speaks, what the attacker put in, how it ended.

What a model or an attacker wrote is shown as text and nothing else: it cannot colour, move or clear the terminal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from tsgb.checkpoints import get_blob
from tsgb.checkpoints.encoding import decode
from tsgb.checkpoints.layout import rounds_prefix
from tsgb.errors import InputError
from tsgb.records.base import Record
from tsgb.records.dialogue import Label, Message, ToolCall, Trajectory
from tsgb.records.run import ShardRecord
from tsgb.storage import Store

_COLOURS = {"system": "magenta", "user": "cyan", "assistant": "green", "tool": "yellow"}
_VERDICTS = {"full": "bold red", "partial": "yellow", "ignored": "green", "error": "magenta"}
_INJECTED = "bold white on red"


class Played(Record):
    """A stored trajectory and where it comes from."""

    round: int
    """Round in which it was played."""
    stage: str
    """Stage that played it."""
    shard: int
    """Part of that stage."""
    trajectory: Trajectory
    """What was played."""


class _Part(NamedTuple):
    round: int
    stage: str
    shard: int


def find_played(
    store: Store,
    run: str,
    *,
    round_number: int | None = None,
    stage: str | None = None,
    label: Label | None = None,
    limit: int | None = None,
) -> list[Played]:
    """The first `limit` trajectories that fit, in order; raises InputError when no such round or stage has one."""
    parts = _parts(store, run)
    chosen = [part for part in parts if round_number in (None, part.round) and stage in (None, part.stage)]
    if not chosen:
        known = ", ".join(dict.fromkeys(f"round {part.round} {part.stage}" for part in parts))
        raise InputError(f"Run {run!r} keeps no dialogues of that round and stage; it has {known or 'none yet'}.")
    played = (each for part in chosen for each in _read(store, run, part) if label in (None, _label(each.trajectory)))
    return list(islice(played, limit))


def readable(trajectory: Trajectory, title: str) -> RenderableType:
    """A dialogue for a person's eyes: roles in colour, the attacker's words marked, the goal and the verdict below."""
    scenario = trajectory.scenario
    marked = [words for words in (scenario.attack.text if scenario.attack else "", scenario.prefill) if words]
    grid = Table.grid(Column(justify="right", no_wrap=True), Column(overflow="fold"), padding=(0, 2, 0, 0))
    for message in (*scenario.messages, *trajectory.messages):
        grid.add_row(Text(message.role, style=f"bold {_COLOURS[message.role]}"), _said(message, marked))
    grid.add_row()
    for name, words in _ending(trajectory):
        grid.add_row(Text(name, style="bold"), words)
    about = f"{scenario.id}, played by {trajectory.target}"
    return Panel(grid, title=Text(title), title_align="left", subtitle=Text(_plain(about)), subtitle_align="left")


def _parts(store: Store, run: str) -> list[_Part]:
    pattern = re.compile(re.escape(rounds_prefix(run)) + r"(\d+)/([^/]+)/shard-(\d+)\.json")
    found = (pattern.fullmatch(key) for key in store.list(rounds_prefix(run)))
    return sorted(_Part(int(match[1]), match[2], int(match[3])) for match in found if match)


def _read(store: Store, run: str, part: _Part) -> Iterator[Played]:
    key = f"{rounds_prefix(run)}{part.round}/{part.stage}/shard-{part.shard}.json"
    digest = decode(ShardRecord, store.get(key), key).blob
    for line in get_blob(store, run, digest).splitlines():
        yield Played(**part._asdict(), trajectory=Trajectory.model_validate_json(line))


def _label(trajectory: Trajectory) -> Label:
    return trajectory.verdict.label if trajectory.verdict else "error"


def _said(message: Message, marked: list[str]) -> Text:
    words = "\n".join(filter(None, (message.content, *map(_call, message.tool_calls))))
    text = Text(_plain(words))
    for attack in marked:
        text.highlight_regex(re.escape(_plain(attack)), _INJECTED)
    return text


def _ending(trajectory: Trajectory) -> Iterator[tuple[str, Text]]:
    attack, verdict = trajectory.scenario.attack, trajectory.verdict
    if attack:
        about = f"  ({attack.surface}, {attack.family}, made by {attack.source})"
        yield "goal", Text.assemble(_plain(_call(attack.goal)), (_plain(about), "dim"))
    if verdict is None or trajectory.error is not None:
        yield "verdict", Text(f"not judged: {_plain(trajectory.error or 'nobody did')}", style=_VERDICTS["error"])
        return
    outcome = (verdict.label, _VERDICTS[verdict.label]) if attack else "not attacked"
    notes = ["user's task done" if verdict.utility else "user's task not done"]
    notes += [*(["refused"] if verdict.refused else []), *([] if verdict.valid else ["malformed calls"])]
    yield "verdict", Text.assemble(outcome, f", {', '.join(notes)}")


def _call(call: ToolCall) -> str:
    arguments = (f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in call.arguments.items())
    return f"{call.name}({', '.join(arguments)})"


def _plain(text: str) -> str:
    """Text without the characters that steer a terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "�" for char in text)
