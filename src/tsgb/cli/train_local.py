"""`tsgb train-local`: the main job, on this machine: self-play round by round, then the final exam."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tsgb.cli.options import Config, Json, Preset, Set, overrides
from tsgb.cli.output import print_rows, progress_of
from tsgb.cli.report import GUARDS
from tsgb.cli.tables import comparison, guard_rows
from tsgb.errors import Interrupted
from tsgb.report.results import read_results
from tsgb.report.runs import find_run
from tsgb.settings import Settings, load_settings
from tsgb.worker.interruption import Interruption

app = typer.Typer()


@app.command("train-local")
def train_local(
    run: Annotated[
        str | None, typer.Option("--run", help="Name of the run; the same name goes on where it stopped.")
    ] = None,
    storage: Annotated[str | None, typer.Option("--storage", help="Folder or URL that holds the runs.")] = None,
    rounds: Annotated[int | None, typer.Option("--rounds", help="Rounds of self-play.")] = None,
    episodes: Annotated[int | None, typer.Option("--episodes", help="Attack episodes a round.")] = None,
    checkpoint_interval: Annotated[
        int | None, typer.Option("--checkpoint-interval", help="Steps between checkpoints.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Folder or hub id of the agent; the shipped surrogate if not given.")
    ] = None,
    processes: Annotated[int | None, typer.Option("--processes", help="Processes side by side.")] = None,
    preset: Preset = None,
    config: Config = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Harden an agent by self-play on this machine; run it again to go on after any interruption."""
    flags = {
        "run.name": run,
        "storage.root": storage,
        "run.rounds": rounds,
        "rollout.episodes": episodes,
        "run.steps_between_checkpoints": checkpoint_interval,
        "run.seed": seed,
        "model.path": model,
        "run.processes": processes,
        "run.preset": preset,
    }
    settings = load_settings(config, overrides(set_, flags))
    outputs = _work(settings, quiet=json)
    name = settings.run.name
    print_rows(comparison(outputs), as_json=json, title=f"Final exam of run {name}, test split, 95 % intervals")
    _report(settings.storage.root, name, quiet=json)


def _work(settings: Settings, *, quiet: bool) -> dict[str, Any]:
    """The run itself; a signal ends the command with that signal's own exit code, where typer knows only Ctrl-C's."""
    try:
        with Interruption().heard() as interruption, progress_of(quiet=quiet) as (tell, note):
            from tsgb.worker.local import train_local as work

            return work(settings, tell=tell, note=note, interruption=interruption)
    except Interrupted as interrupted:
        raise typer.Exit(143 if str(interrupted) == "SIGTERM" else 130) from interrupted


def _report(storage: str, name: str, *, quiet: bool) -> None:
    """Leave the run's report where `tsgb report` writes it."""
    results = read_results(*find_run(storage, name))
    from tsgb.report.files import write_report

    written = write_report(results, Path("reports") / name)
    if not quiet:
        if results.final and results.final.guards:
            print_rows(guard_rows(results.final.guards), title=GUARDS)
        typer.echo(f"Written: {', '.join(map(str, written))}")
