"""`tsgb surrogate`: tiny agents trained from scratch, and what they are."""

from __future__ import annotations

from dataclasses import replace
from json import dumps, loads
from pathlib import Path
from typing import Annotated

import typer

from tsgb.cli.options import Json
from tsgb.cli.output import print_rows, progress
from tsgb.errors import InputError, SettingsError

app = typer.Typer(name="surrogate", help="Tiny agents trained from scratch.", no_args_is_help=True)
Out = Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the surrogate.", show_default=False)]
Folder = Annotated[
    Path | None,
    typer.Argument(metavar="[FOLDER]", help="A surrogate's folder; the shipped one if not given.", show_default=False),
]


@app.command()
def build(
    out: Out,
    recipe: Annotated[str, typer.Option(help="Recipe to begin from: default, small, black-box.")] = "default",
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of everything.", show_default=False)] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="Blocks.", show_default=False)] = None,
    hidden: Annotated[int | None, typer.Option(min=2, help="Width of the hidden states.", show_default=False)] = None,
    heads: Annotated[int | None, typer.Option(min=1, help="Attention heads.", show_default=False)] = None,
    mlp: Annotated[int | None, typer.Option(min=1, help="Width inside the MLPs.", show_default=False)] = None,
    vocabulary: Annotated[int | None, typer.Option(min=300, help="Tokens.", show_default=False)] = None,
    copy_steps: Annotated[int | None, typer.Option(min=0, help="Steps mixed with copying.", show_default=False)] = None,
    helpful_steps: Annotated[int | None, typer.Option(min=0, help="Steps of helping.", show_default=False)] = None,
    refusal_steps: Annotated[int | None, typer.Option(min=0, help="Steps of refusing too.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Train a surrogate from a seed into a new folder; what is not given is as in the recipe named."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already; name a new folder for the surrogate.")
    _require_writable(out)
    from safetensors import SafetensorError

    from tsgb.surrogate.build import RECIPES, build_surrogate

    if recipe not in RECIPES:
        raise SettingsError(f"--recipe {recipe} is unknown; choose one of: {', '.join(RECIPES)}.")
    asked = {"seed": seed, "layers": layers, "hidden": hidden, "heads": heads, "mlp": mlp, "vocabulary": vocabulary}
    asked |= {"copy_steps": copy_steps, "helpful_steps": helpful_steps, "refusal_steps": refusal_steps}
    chosen = replace(RECIPES[recipe], **{name: value for name, value in asked.items() if value is not None})
    _require_even_heads(chosen.hidden, chosen.heads)
    try:
        with progress("building", chosen.steps, quiet=json) as advance:
            build_surrogate(chosen, out, lambda entry: advance(1))
    except (OSError, SafetensorError) as error:
        raise _unwritable(out, error) from error
    _print(about(out), as_json=json)


@app.command()
def info(folder: Folder = None, json: Json = False) -> None:
    """Show a surrogate's recipe, size and digest."""
    from tsgb.surrogate import shipped

    _print(about(folder or shipped()), as_json=json)


def about(folder: Path) -> dict[str, object]:
    """A surrogate's folder, size in bytes, digest of its weights, and recipe; raises InputError if it is none."""
    log = folder / "build.json"
    if not log.is_file():
        raise InputError(f"{folder} holds no build.json, so no surrogate; make one with tsgb surrogate build.")
    from tsgb.models.loading import load_base

    base = load_base(folder)
    return {
        "folder": str(folder),
        "parameters": base.model.num_parameters(),
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
        "digest": base.digest,
        **loads(log.read_bytes())["recipe"],
    }


def _print(facts: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        typer.echo(dumps(facts, indent=2))
        return
    print_rows([{"what": what, "value": value} for what, value in facts.items()])


def _require_writable(out: Path) -> None:
    """Make the folder and write into it once, before minutes of training go into what could not be kept."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "build.json").touch()
        (out / "build.json").unlink()
    except OSError as error:
        raise _unwritable(out, error) from error


def _unwritable(out: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(f"{out} cannot be written ({reason}); make room there, or name another folder.")


def _require_even_heads(hidden: int, heads: int) -> None:
    if hidden % (2 * heads):
        cure = f"make it a multiple of {2 * heads}"
        raise SettingsError(f"--hidden {hidden} cannot be shared by --heads {heads} of even width; {cure}")
