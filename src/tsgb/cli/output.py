"""What commands print: the same rows as a table or as JSON on stdout, and progress on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TextColumn("left"),
    TimeRemainingColumn(),
)
Advance = Callable[[int], None]
"""Says that so many more units of work are done."""


def print_rows(rows: Sequence[Mapping[str, object]], *, as_json: bool = False, title: str | None = None) -> None:
    """Print rows that share their keys: a table with the keys as headings, or a JSON list of objects."""
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False, default=str))
        return
    table = Table(*(Column(name, overflow="fold") for name in (rows[0] if rows else ())), title=title)
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    Console().print(table)


@contextmanager
def progress(what: str, total: int | None = None, *, quiet: bool = False) -> Iterator[Advance]:
    """Show a bar and the time left while the body advances to `total` units; silent if `quiet` or not on a terminal."""
    console = Console(stderr=True)
    with Progress(*_COLUMNS, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda units: bar.advance(task, units)


@contextmanager
def progress_of(*, quiet: bool = False) -> Iterator[tuple[Callable[[str, int, int], None], Callable[[str], None]]]:
    """Two ways to tell how a long job goes: (what, done, total) moves that piece's bar, a sentence is printed.

    Without a terminal there are no bars: each piece is named once, when it is done.
    """
    console = Console(stderr=True)
    plain = not quiet and not console.is_terminal
    with Progress(*_COLUMNS, console=console, transient=True, disable=quiet or not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            if plain and done >= total and not bars.tasks[tasks[what]].finished:
                console.print(f"done: {what}")
            bars.update(tasks[what], completed=done, total=total, visible=done < total)

        yield tell, lambda sentence: console.print(sentence)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
