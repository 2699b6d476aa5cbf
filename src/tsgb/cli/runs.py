"""How commands name a run: by its name, in the folder that holds the runs, or as the settings say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsgb.records.run import RunRecord
from tsgb.report.runs import find_run
from tsgb.settings import Settings, load_settings
from tsgb.storage import Store

RunName = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help="Name of the run; that of the settings if not given.", show_default=False),
]
TheRun = Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.", show_default=False)]
Storage = Annotated[
    str | None, typer.Option("--storage", help="Folder or URL that holds the runs.", show_default=False)
]


def chosen_run(name: str | None, storage: str | None, config: Path | None) -> tuple[Store, RunRecord]:
    """The run a command is about; raises InputError naming the runs that exist."""
    settings = chosen_settings(name, storage, config)
    return find_run(settings.storage.root, settings.run.name)


def chosen_settings(name: str | None, storage: str | None, config: Path | None) -> Settings:
    """The settings of a command about a run, its name and place as the flags say."""
    return load_settings(config, {"run.name": name, "storage.root": storage})
