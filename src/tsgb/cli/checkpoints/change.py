"""The half of `tsgb checkpoints` that changes a run: what is kept, what is gone on from, who may write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from tsgb import checkpoints
from tsgb.checkpoints.lease import this_host
from tsgb.checkpoints.listing import find_commit, on_chain
from tsgb.checkpoints.pins import is_pinned
from tsgb.checkpoints.retention import left_by_fenced, superfluous
from tsgb.cli.checkpoints.arguments import Reason, TheCommit
from tsgb.cli.options import Config, Json
from tsgb.cli.output import print_rows
from tsgb.cli.runs import RunName, Storage, TheRun, chosen_run, chosen_settings
from tsgb.settings import Secrets, Settings
from tsgb.storage import Store, open_store

app = typer.Typer()
Keep = Annotated[
    int | None,
    typer.Option("--keep-last", min=2, help="Commits to keep of each stage; run.keep_last if not given."),
]
Fenced = Annotated[bool, typer.Option("--fenced", help="What fenced writers left and what was gone back from instead.")]
Dry = Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and delete nothing.")]


@app.command()
def pin(run: TheRun, commit: TheCommit, reason: Reason = "", storage: Storage = None, config: Config = None) -> None:
    """Keep a commit, whatever retention would do, until it is unpinned."""
    store, record = chosen_run(run, storage, config)
    name = find_commit(store, record.run, commit).commit
    checkpoints.pin(store, record.run, name, reason)
    typer.echo(f"{name} is pinned.")


@app.command()
def unpin(run: TheRun, commit: TheCommit, storage: Storage = None, config: Config = None) -> None:
    """Leave a commit to retention again."""
    store, record = chosen_run(run, storage, config)
    name = find_commit(store, record.run, commit).commit
    was_pinned = is_pinned(store, record.run, name)
    checkpoints.unpin(store, record.run, name)
    typer.echo(f"{name} is pinned no more." if was_pinned else f"{name} was not pinned.")


@app.command()
def quarantine(
    run: TheRun, commit: TheCommit, reason: Reason = "by hand", storage: Storage = None, config: Config = None
) -> None:
    """Keep every later writer from going on from a commit; its files stay, for whoever looks into them."""
    store, record = chosen_run(run, storage, config)
    name = find_commit(store, record.run, commit).commit
    checkpoints.quarantine(store, record.run, name, reason)
    typer.echo(f"{name} is in quarantine; tsgb checkpoints resume-point {record.run} says what comes instead.")


@app.command()
def rollback(run: TheRun, commit: TheCommit, storage: Storage = None, config: Config = None) -> None:
    """Go back to an older commit of the stage under way; a writer at work is fenced and stops."""
    store, record = chosen_run(run, storage, config)
    name, before = find_commit(store, record.run, commit).commit, len(on_chain(store, record.run))
    lease = checkpoints.rollback(store, record.run, name, this_host())
    left = before - len(on_chain(store, record.run))
    typer.echo(f"{name} is the newest commit now (epoch {lease.epoch}); {left} left the chain.")


@app.command()
def gc(
    run: RunName = None,
    fenced: Fenced = False,
    keep_last: Keep = None,
    dry_run: Dry = False,
    storage: Storage = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Delete old commits that nothing needs, which fences a writer at work; with --fenced, what is on no chain."""
    store, record = chosen_run(run, storage, config)
    settings = chosen_settings(record.run, storage, config)
    keep = keep_last or settings.run.keep_last
    doomed = left_by_fenced(store, record.run) if fenced else superfluous(store, record.run, keep)
    if doomed and not dry_run:
        doomed = checkpoints.sweep_fenced(store, record.run) if fenced else _retain(store, settings, keep)
    _print(doomed, "would be deleted" if dry_run else "deleted", as_json=json)


@app.command()
def repair(run: TheRun, storage: Storage = None, config: Config = None) -> None:
    """Build a damaged or lost head anew from all whole commits; for when nothing writes."""
    store, record = chosen_run(run, storage, config)
    head = checkpoints.repair(store, record.run, this_host())
    if head is None:
        typer.echo(f"The head of run {record.run} is whole; nothing was done.")
        return
    typer.echo(f"The head of run {record.run} was built anew (epoch {head.epoch}) from {len(head.line)} commits.")
    typer.echo(f"The newest is {head.commit or 'none'}; every writer before is fenced.")


@app.command()
def grant(run: TheRun, storage: Storage = None, config: Config = None, json: Json = False) -> None:
    """Grant the next epoch in a store that cannot fence; for the one manager, before it starts a writer."""
    settings = chosen_settings(run, storage, config)
    store = open_store(settings.storage.root, settings.storage, Secrets())
    lease = checkpoints.grant(store, run, this_host())
    if json:
        typer.echo(lease.model_dump_json(indent=2))
        return
    typer.echo(f"Epoch {lease.epoch} of run {run} is granted: --set run.granted_epoch={lease.epoch} writes under it.")


def _retain(store: Store, settings: Settings, keep_last: int) -> list[str]:
    """Become the writer, for only the owner of a run deletes what is on its chain."""
    name, epoch = settings.run.name, settings.run.granted_epoch
    return checkpoints.retain(store, checkpoints.acquire(store, name, this_host(), granted_epoch=epoch), keep_last)


def _print(commits: Sequence[str], what: str, *, as_json: bool) -> None:
    if as_json or commits:
        print_rows([{"commit": commit} for commit in commits], as_json=as_json, title=f"{len(commits)} {what}")
    else:
        typer.echo("There is nothing to collect.")
