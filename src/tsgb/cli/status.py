"""`tsgb status`: how far a run is, who may write to it, and where it goes on."""

from __future__ import annotations

import typer

from tsgb.cli.options import Config, Json
from tsgb.cli.output import print_rows
from tsgb.cli.runs import RunName, Storage, chosen_run
from tsgb.cli.tables import stage_rows
from tsgb.report.progress import RunStatus, read_status

app = typer.Typer()


@app.command()
def status(run: RunName = None, storage: Storage = None, config: Config = None, json: Json = False) -> None:
    """Show which stages of a run are done, who writes to it, its accepted defender, and where it goes on."""
    progress = read_status(*chosen_run(run, storage, config))
    if json:
        typer.echo(progress.model_dump_json(indent=2))
        return
    print_rows(stage_rows(progress), title=f"Run {progress.run}")
    for line in _summary(progress):
        typer.echo(line)


def _summary(status: RunStatus) -> list[str]:
    owner = f"{status.owner} (epoch {status.epoch})" if status.owner else "nobody yet"
    return [
        f"last writer      {owner}",
        f"newest commit    {status.commit or 'none yet'}",
        f"defender         {status.defender or 'none accepted yet'}",
        f"goes on with     {status.next}",
    ]
