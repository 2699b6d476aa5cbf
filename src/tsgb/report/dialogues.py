"""The dialogues of a run, found in storage and made readable: who speaks, what the attacker put in, how it ended.

What a model or an attacker wrote is shown as text and nothing else: it cannot colour, move or clear the terminal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.panel import Panel
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
    """The first `limit` stored trajectories that fit, in order; raises InputError naming what there is if nothing does."""
    parts = _parts(store, run)
    chosen = [part for part in parts if round_number in (None, part.round) and stage in (None, part.stage)]
    if not chosen:
        known = sorted({f"round {part.round}: {part.stage}" for part in parts})
        raise InputError(f"Run {run!r} keeps no such dialogues; it has {', '.join(known) or 'none yet'}.")
    played = (each for part in chosen for each in _read(store, run, part) if label in (None, _label(each.trajectory)))
    return list(islice(played, limit))


def readable(trajectory: Trajectory, title: str) -> RenderableType:
    """A dialogue for a person's eyes: roles in colour, the attacker's words marked, the goal and the verdict below."""
    scenario = trajectory.scenario
    marked = [words for words in (scenario.attack.text if scenario.attack else "", scenario.prefill) if words]
    turns = [_turn(message, marked) for message in (*scenario.messages, *trajectory.messages)]
    return Panel(Group(*turns, Text(), *_ending(trajectory)), title=Text(title), title_align="left", border_style="dim")


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


def _turn(message: Message, marked: list[str]) -> Text:
    words = "\n".join(filter(None, (message.content, *map(_call, message.tool_calls))))
    speaker = f"{message.role}({message.name})" if message.name else message.role
    text = Text(f"{_plain(speaker):>9}  ", style=f"bold {_COLOURS[message.role]}")
    said = Text(_plain(words), style="default")
    said.stylize("not bold")
    for attack in marked:
        said.highlight_regex(re.escape(_plain(attack)), _INJECTED)
    return text + said


def _ending(trajectory: Trajectory) -> Iterator[Text]:
    attack, verdict = trajectory.scenario.attack, trajectory.verdict
    if attack:
        about = f"{attack.surface}, {attack.family}, made by {attack.source}"
        yield Text.assemble(("goal     ", "bold"), _plain(_call(attack.goal)), (f"  ({_plain(about)})", "dim"))
    if verdict is None:
        yield Text(f"not judged: {_plain(trajectory.error or 'no verdict')}", style=_VERDICTS["error"])
        return
    task = "user's task done" if verdict.utility else "user's task not done"
    notes = [task, *(["refused"] if verdict.refused else []), *([] if verdict.valid else ["malformed calls"])]
    outcome = verdict.label if attack else "not attacked"
    yield Text.assemble(("verdict  ", "bold"), (outcome, _VERDICTS[verdict.label]), f", {', '.join(notes)}")


def _call(call: ToolCall) -> str:
    arguments = (f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in call.arguments.items())
    return f"{call.name}({', '.join(arguments)})"


def _plain(text: str) -> str:
    """Text without the characters that steer a terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "�" for char in text)
