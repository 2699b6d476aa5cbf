"""The `tsgb` command: its tree, and what a person sees when something goes wrong.

A person's mistake is one sentence and exit code 2, a failure outside is one sentence and exit code 1, Ctrl-C is 130
and SIGTERM 143; anything else is a bug and keeps its traceback. Importing this module loads no GPU stack.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import tsgb
from tsgb.cli import checkpoints, eval_local, report, settings, status, surrogate, train_local, trajectories
from tsgb.errors import TsgbError, UserError

COMMANDS = (train_local, eval_local, status, report, trajectories, checkpoints, surrogate, settings)
"""The modules whose `app` makes the tree, in the order of `--help`."""

INTERRUPTED = "Interrupted; what was committed is whole: the same command goes on from there."
"""What a command says that keeps its work."""
STOPPED = "Interrupted; nothing of it was kept: the same command begins anew."
"""What any other says."""

app = typer.Typer(help=tsgb.__doc__, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
for command in COMMANDS:
    app.add_typer(command.app)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"tsgb {tsgb.__version__}")
        raise typer.Exit


@app.callback()
def _tsgb(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (`sys.argv` by default) and return its exit code."""
    try:
        code = app(arguments, prog_name="tsgb", standalone_mode=False) or 0
    except typer.TyperException as error:
        return _say(error.format_message(), error.exit_code)
    except UserError as error:
        return _say(str(error), 2)
    except TsgbError as error:
        return _say(str(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    return _say(_interrupted(arguments), code) if code in (130, 143) else int(code)


def main() -> None:
    """Entry point of the `tsgb` script."""
    sys.exit(run())


def _interrupted(arguments: Sequence[str] | None) -> str:
    command = (sys.argv[1:] if arguments is None else arguments)[:1]
    return INTERRUPTED if list(command) == ["train-local"] else STOPPED


def _say(sentence: str, code: int) -> int:
    typer.echo(sentence, err=True)
    return code
