"""What commands print: the same rows as a table or as JSON on stdout, and progress on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

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
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda units: bar.advance(task, units)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
