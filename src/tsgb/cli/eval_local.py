"""`tsgb eval-local`: an exam of a model with and without an adapter, on held-out suites or on your own files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from tsgb.cli.options import Config, Json, Set, overrides
from tsgb.cli.output import print_rows, progress_of
from tsgb.cli.tables import exam_rows
from tsgb.errors import SettingsError
from tsgb.report.bundles import Bundle, find_bundle
from tsgb.report.dialogues import readable
from tsgb.settings import Settings, load_settings

if TYPE_CHECKING:
    from tsgb.worker.evaluate import Evaluation

app = typer.Typer()
Checkpoint = Annotated[
    Path | None,
    typer.Option("--checkpoint-path", help="Folder of a run or commit; …/latest: the newest run.", show_default=False),
]
Adapter = Annotated[Path | None, typer.Option("--adapter", help="Folder of a PEFT LoRA adapter.", show_default=False)]
Model = Annotated[
    str | None,
    typer.Option("--model", help="Folder or hub id; the run's or the shipped one if not given.", show_default=False),
]
Attacks = Annotated[Path | None, typer.Option("--attacks", help="JSON lines of your own attacks.", show_default=False)]
Tasks = Annotated[Path | None, typer.Option("--tasks", help="JSON lines of your own tasks.", show_default=False)]
Size = Annotated[
    int | None,
    typer.Option(
        "--size", min=1, help="Unattacked tasks; twice the injections, half of each other.", show_default=False
    ),
]


@app.command("eval-local")
def eval_local(
    checkpoint_path: Checkpoint = None,
    adapter: Adapter = None,
    model: Model = None,
    attacks: Attacks = None,
    tasks: Tasks = None,
    split: Annotated[Literal["dev", "test"], typer.Option("--split", help="Which of the office's suites.")] = "dev",
    size: Size = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the suite.")] = 0,
    show_failures: Annotated[int, typer.Option("--show-failures", min=0, help="Show so many that went wrong.")] = 0,
    config: Config = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Examine a model, alone and with an adapter, on held-out suites or on attacks and tasks of your own."""
    bundle = _bundle(checkpoint_path, adapter)
    flags = {"model.path": model or bundle.model or None, **_sizes(size)}
    settings = load_settings(config, overrides(set_, flags))
    from tsgb.worker.evaluate import evaluate, suite_of

    suite = suite_of(settings, split=split, tasks=tasks, attacks=attacks, seed=seed)
    with progress_of(quiet=json) as (tell, _):
        found = evaluate(settings, suite, split=split, adapter=bundle.folder, tell=tell)
    _print(found, settings, show_failures, as_json=json)


def _bundle(checkpoint: Path | None, adapter: Path | None) -> Bundle:
    if checkpoint and adapter:
        raise SettingsError(
            f"--checkpoint-path {checkpoint} and --adapter {adapter} name two adapters; give one of them"
        )
    return find_bundle(checkpoint) if checkpoint else Bundle(adapter, "")


def _sizes(size: int | None) -> dict[str, object]:
    if size is None:
        return {}
    return {"evaluation.benign": size, "evaluation.attacked": 2 * size, "evaluation.harmful": max(1, size // 2)}


def _print(found: Evaluation, settings: Settings, failures: int, *, as_json: bool) -> None:
    shown = found.model_copy(update={"failures": found.failures[:failures]})
    if as_json:
        typer.echo(shown.model_dump_json(indent=2))
        return
    exams = {"base": found.base, **({"hardened": found.hardened} if found.hardened else {})}
    print_rows(exam_rows(exams, families=True), title="% with 95 % intervals")
    typer.echo(f"base      {settings.model.path or 'the shipped surrogate'}")
    if found.adapter:
        typer.echo(f"hardened  {found.adapter}")
    for trajectory in shown.failures:
        Console().print(readable(trajectory, "went wrong"))
