"""`tsgb checkpoints`: what is kept of a run, and what a person may do about it."""

from __future__ import annotations

import typer

from tsgb.cli.checkpoints import change, look, take

app = typer.Typer(
    name="checkpoints", help="What is kept of a run, and what a person may do about it.", no_args_is_help=True
)
for part in (look, take, change):
    app.add_typer(part.app)
