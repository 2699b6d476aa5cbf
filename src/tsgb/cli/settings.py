"""`tsgb settings`: which values are in force, where each comes from, and a complete file to begin from."""

from __future__ import annotations

import textwrap

import typer

from tsgb.cli.options import Config, Json, Preset, Set, overrides
from tsgb.cli.output import print_rows
from tsgb.settings import Secrets, Settings, resolve_settings, setting_fields, setting_values

app = typer.Typer(name="settings", help="What can be turned.", no_args_is_help=True)

_HEADER = """\
Every setting with its default. Copy to tsgb.toml and keep the lines you change.
A setting here is overridden by TSGB_SECTION__FIELD in .env or the environment, and that by a flag.
Secrets never stand here: see .env.example."""


@app.command()
def show(config: Config = None, set_: Set = None, preset: Preset = None, json: Json = False) -> None:
    """Show every setting, its value and the place it comes from; of secrets only whether they are set."""
    settings, origin = resolve_settings(config, overrides(set_, {"run.preset": preset}))
    values = setting_values(settings)
    rows = [
        {"setting": key, "value": values[key], "from": origin[key], "meaning": field.description}
        for key, field in setting_fields().items()
    ]
    print_rows(rows + _secret_rows(), as_json=json)


@app.command()
def example() -> None:
    """Print a complete tsgb.toml that holds the defaults, each under its description."""
    typer.echo(example_toml(), nl=False)


def example_toml() -> str:
    """A settings file with every section and field, described and at its default."""
    lines = _comment(_HEADER)
    for name, holder in Settings.model_fields.items():
        lines += ["", *_comment(str(type(holder.default).__doc__)), f"[{name}]"]
        for field, declared in type(holder.default).model_fields.items():
            lines += [*_comment(str(declared.description)), _assignment(field, declared.default)]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for paragraph in text.splitlines() for line in textwrap.wrap(paragraph, 110)]


def _assignment(name: str, value: object) -> str:
    if value is None:
        return f"# {name} ="
    if isinstance(value, tuple):
        return f"{name} = {list(value)}"
    if isinstance(value, bool):
        return f"{name} = {str(value).lower()}"
    return f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value}"


def _secret_rows() -> list[dict[str, object]]:
    secrets = Secrets()
    return [
        {
            "setting": name.upper(),
            "value": None if getattr(secrets, name) is None else "hidden",
            "from": "default" if getattr(secrets, name) is None else "environment or .env",
            "meaning": field.description,
        }
        for name, field in Secrets.model_fields.items()
    ]
