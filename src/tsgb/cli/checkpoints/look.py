"""The half of `tsgb checkpoints` that only reads: list, show, verify, resume-point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from tsgb.checkpoints import resume_point as find_resume_point
from tsgb.checkpoints.listing import Listed, Shown, find_commit, list_commits, on_chain, show_commit
from tsgb.checkpoints.verification import Verified, verify_commits
from tsgb.cli.checkpoints.arguments import Commit
from tsgb.cli.options import Config, Json
from tsgb.cli.output import print_rows, progress
from tsgb.cli.runs import RunName, Storage, chosen_run
from tsgb.cli.tables import Row

app = typer.Typer()
Limit = Annotated[int, typer.Option("--limit", min=0, help="At most so many, newest first; 0: all.")]
One = Annotated[
    str | None,
    typer.Argument(metavar="[COMMIT]", help="This commit alone; all on the chain if not given.", show_default=False),
]


@app.command("list")
def list_(
    run: RunName = None, limit: Limit = 20, storage: Storage = None, config: Config = None, json: Json = False
) -> None:
    """List the commits on a run's chain by their names, newest first: those it can go on from."""
    store, record = chosen_run(run, storage, config)
    commits = list_commits(store, record.run)
    shown = commits[:limit] if limit else commits
    if json or commits:
        print_rows([_row(each) for each in shown], as_json=json, title=f"Commits of run {record.run}")
    if not json:
        typer.echo(_left_out(record.run, len(commits), len(shown)))


@app.command()
def show(
    run: RunName = None, commit: Commit = None, storage: Storage = None, config: Config = None, json: Json = False
) -> None:
    """Show what a commit promises: its files with sizes and hashes, its parent, what it was computed from."""
    store, record = chosen_run(run, storage, config)
    shown = show_commit(store, record.run, commit)
    if json:
        typer.echo(shown.model_dump_json(indent=2))
        return
    files = shown.manifest.files.items()
    print_rows([{"file": name, "bytes": file.size, "blake3": file.blake3} for name, file in files])
    for line in _about(shown):
        typer.echo(line)


@app.command()
def verify(
    run: RunName = None, commit: One = None, storage: Storage = None, config: Config = None, json: Json = False
) -> None:
    """Read every byte of all commits on the chain, or of one, and say what is damaged; exit code 1 if anything is."""
    store, record = chosen_run(run, storage, config)
    commits = [find_commit(store, record.run, commit)] if commit else on_chain(store, record.run)
    found: list[Verified] = []
    with progress("verifying", len(commits), quiet=json) as advance:
        for each in verify_commits(store, record.run, commits):
            found.append(each)
            advance(1)
    damaged = [each for each in found if each.damage]
    if json:
        print_rows([each.model_dump() for each in found], as_json=True)
    else:
        _say_verified(found, damaged)
    if damaged:
        raise typer.Exit(1)


@app.command("resume-point")
def resume_point(run: RunName = None, storage: Storage = None, config: Config = None, json: Json = False) -> None:
    """Show the commit that a writer would go on from, judged by its manifest alone, and what it would skip."""
    store, record = chosen_run(run, storage, config)
    manifest, skipped = find_resume_point(store, record.run)
    commit = manifest.commit if manifest else None
    if json:
        print_rows([{"commit": commit, "skipped": skipped}], as_json=True)
        return
    for sentence in skipped:
        typer.echo(sentence)
    typer.echo(commit or f"Run {record.run} has no commit to go on from: the stage under way begins at its beginning.")


def _row(listed: Listed) -> Row:
    marks = ", ".join(listed.marks) or None
    return {
        "commit": listed.commit,
        "round": listed.round,
        "stage": listed.stage,
        "step": listed.step,
        "marks": marks,
    }


def _left_out(run: str, total: int, shown: int) -> str:
    if not total:
        return f"Run {run} has no commit yet; tsgb status {run} says how far it is."
    return f"{shown} of {total} commits" + ("; --limit 0 shows all." if shown < total else ".")


def _about(shown: Shown) -> list[str]:
    manifest = shown.manifest
    where = "on the chain" if shown.on_chain else "not on the chain: a fenced writer's, or gone back from"
    return [
        f"commit      {manifest.commit}",
        f"parent      {manifest.parent or 'none: the first'}",
        f"chain       {where}",
        f"pinned      {'yes' if shown.pinned else 'no'}",
        f"quarantine  {shown.quarantine or 'no'}",
        *(f"from        {name} {digest}" for name, digest in manifest.data.items()),
    ]


def _say_verified(found: Sequence[Verified], damaged: Sequence[Verified]) -> None:
    files, size = sum(each.files for each in found), sum(each.size for each in found)
    for each in damaged:
        for sentence in each.damage:
            typer.echo(f"{each.commit}: {sentence}")
    typer.echo(f"Commits verified: {len(found)} ({files} files, {size} bytes); damaged: {len(damaged)}.")
