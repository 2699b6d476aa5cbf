"""How commands name a run: by its name, in the folder that holds the runs, or as the settings say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsgb.records.run import RunRecord
from tsgb.report.runs import find_run
from tsgb.settings import load_settings
from tsgb.storage import Store

RunName = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help="Name of the run; that of the settings if not given.", show_default=False),
]
Storage = Annotated[Path | None, typer.Option("--storage", help="Folder that holds the runs.", show_default=False)]


def chosen_run(name: str | None, storage: Path | None, config: Path | None) -> tuple[Store, RunRecord]:
    """The run a command is about; raises InputError naming the runs that exist."""
    flags = {"run.name": name, "storage.root": None if storage is None else str(storage)}
    settings = load_settings(config, flags)
    return find_run(settings.storage.root, settings.run.name)
