"""`tsgb report`: what a run's exams say and how it was trained, as tables, as JSON and as figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsgb.cli.options import Config, Json
from tsgb.cli.output import print_rows
from tsgb.cli.runs import RunName, Storage, chosen_run
from tsgb.cli.tables import curve_rows, exam_rows, guard_rows, round_rows
from tsgb.report.results import RunReport, read_results

app = typer.Typer()
GUARDS = "Guards on the calls of the final exam's base, 95 % intervals"
TRAINING = "Training, means of the first → the last tenth of the steps"
Out = Annotated[
    Path | None, typer.Option("--out", help="Folder to write to; reports/RUN if not given.", show_default=False)
]


@app.command()
def report(
    run: RunName = None, out: Out = None, storage: Storage = None, config: Config = None, json: Json = False
) -> None:
    """Write report.json and figures (PNG and SVG) of a run's exams and training, and print them as tables."""
    results = read_results(*chosen_run(run, storage, config))
    from tsgb.report.files import write_report

    written = write_report(results, out or Path("reports") / results.run)
    if json:
        typer.echo(results.model_dump_json(indent=2))
        return
    _print(results)
    typer.echo(f"Written: {', '.join(map(str, written))}")


def _print(results: RunReport) -> None:
    print_rows(round_rows(results), title=f"Rounds of run {results.run}, dev split, % with 95 % intervals")
    for each in results.rounds:
        typer.echo(f"round {each.round}: {'accepted' if each.accepted else 'rejected: ' + '; '.join(each.reasons)}")
    if results.curves:
        print_rows(curve_rows(results), title=TRAINING)
    if results.final:
        exams = {"base": results.final.base, "hardened": results.final.exam}
        print_rows(exam_rows(exams, families=True), title="Final exam, test split, % with 95 % intervals")
        if results.final.guards:
            print_rows(guard_rows(results.final.guards), title=GUARDS)
