"""`tsgb trajectories`: what was said in a run's dialogues."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from tsgb.cli.options import Config, Json
from tsgb.cli.output import print_rows
from tsgb.cli.runs import RunName, Storage, chosen_run
from tsgb.records.dialogue import Label
from tsgb.report.dialogues import Played, find_played, readable

app = typer.Typer(name="trajectories", help="What was said in a run's dialogues.", no_args_is_help=True)
Round = Annotated[int | None, typer.Option("--round", min=0, help="Only those of a round.", show_default=False)]
Stage = Annotated[
    str | None,
    typer.Option("--stage", help="Only those of a stage: rollout, attack, sets, exam, …", show_default=False),
]
Ended = Annotated[Label | None, typer.Option("--label", help="Only those that ended so.", show_default=False)]


@app.command()
def show(
    run: RunName = None,
    round_: Round = None,
    stage: Stage = None,
    label: Ended = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 5,
    storage: Storage = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show dialogues of a run: who says what, the attacker's words marked, the goal and the verdict."""
    store, record = chosen_run(run, storage, config)
    played = find_played(store, record.run, round_number=round_, stage=stage, label=label, limit=limit)
    if json:
        print_rows([each.model_dump(mode="json") for each in played], as_json=True)
        return
    for each in played:
        Console().print(readable(each.trajectory, _title(each)))
    if not played:
        typer.echo("No dialogue ended so.")


def _title(played: Played) -> str:
    return f"round {played.round}, {played.stage}, part {played.shard}"
