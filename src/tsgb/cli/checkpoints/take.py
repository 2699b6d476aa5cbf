"""What a person takes from storage: `pull` a commit as it is, `export` an adapter with its guards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsgb.checkpoints import Journal
from tsgb.checkpoints.accepted import accepted_bundle
from tsgb.checkpoints.layout import marker_name
from tsgb.checkpoints.listing import open_commit
from tsgb.checkpoints.pull import export as export_bundle
from tsgb.checkpoints.pull import pull as pull_commit
from tsgb.cli.checkpoints.arguments import Commit
from tsgb.cli.options import Config
from tsgb.cli.output import progress
from tsgb.cli.runs import RunName, Storage, chosen_run
from tsgb.errors import InputError
from tsgb.records.run import Manifest, RunRecord
from tsgb.storage import Store

app = typer.Typer()
Out = Annotated[Path | None, typer.Option("--out", help="New folder; named after the commit if not given.")]
Bundle = Annotated[
    str | None,
    typer.Argument(metavar="[COMMIT]", help="A bundle; the newest that the gates accepted if not given."),
]


@app.command()
def pull(
    run: RunName = None, commit: Commit = None, out: Out = None, storage: Storage = None, config: Config = None
) -> None:
    """Copy a commit into a new folder, every byte checked; the folder appears only when it is whole."""
    store, record = chosen_run(run, storage, config)
    manifest = open_commit(store, record.run, commit)
    folder = out or _folder("checkpoints", manifest)
    with progress("pulling", _size(manifest)) as advance:
        pull_commit(store, manifest, folder, advance)
    typer.echo(f"{manifest.commit}: {len(manifest.files)} files, {_size(manifest)} bytes in {folder}")


@app.command()
def export(
    run: RunName = None, commit: Bundle = None, out: Out = None, storage: Storage = None, config: Config = None
) -> None:
    """Copy a defender into a new folder as PEFT loads it, with the guards bound to it."""
    store, record = chosen_run(run, storage, config)
    manifest = open_commit(store, record.run, commit or _accepted(store, record))
    folder = out or _folder("adapters", manifest)
    with progress("exporting", _size(manifest)) as advance:
        export_bundle(store, manifest, folder, advance)
    typer.echo(f"{manifest.commit}: {', '.join(sorted(manifest.files))} in {folder}")


def _accepted(store: Store, record: RunRecord) -> str:
    commit = accepted_bundle(Journal(store, record.run), record.settings["run"]["rounds"])
    if commit is None:
        cure = f"to export one all the same, name a commit of the stage guards from tsgb checkpoints list {record.run}"
        raise InputError(f"Run {record.run!r} has no accepted defender; {cure}.")
    return commit


def _folder(kind: str, manifest: Manifest) -> Path:
    return Path(kind) / f"{manifest.run}-{marker_name(manifest.commit)}"


def _size(manifest: Manifest) -> int:
    return sum(file.size for file in manifest.files.values())
