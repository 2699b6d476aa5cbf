"""How the commands of `tsgb checkpoints` name a commit and say why."""

from __future__ import annotations

from typing import Annotated

import typer

_NAMED = "its name or the beginning of it, with or without e<epoch>/"
Commit = Annotated[
    str | None,
    typer.Argument(metavar="[COMMIT]", help=f"The commit: {_NAMED}; the newest if not given.", show_default=False),
]
TheCommit = Annotated[str, typer.Argument(metavar="COMMIT", help=f"The commit: {_NAMED}.", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", help="Why, for whoever reads it later.", show_default=False)]
