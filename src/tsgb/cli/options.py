"""Options that several commands share, and how they become settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from tsgb.errors import SettingsError
from tsgb.settings import PRESETS

Config = Annotated[
    Path | None, typer.Option("--config", help="Settings file; tsgb.toml here if not given.", show_default=False)
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Any setting; may be repeated.", show_default=False),
]
Preset = Annotated[str | None, typer.Option("--preset", help=f"{', '.join(PRESETS)}.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def overrides(assignments: Sequence[str] | None, flags: Mapping[str, object]) -> dict[str, object]:
    """What `load_settings` takes as overrides: `--set` texts, then a command's own flags (None: not given).

    Raises SettingsError for a text without the sign.
    """
    values: dict[str, object] = {}
    for text in assignments or ():
        key, sign, value = text.partition("=")
        if not sign:
            raise SettingsError(f"--set {text} sets nothing; write SECTION.FIELD=VALUE, such as run.seed=1")
        values[key.strip()] = value.strip()
    return values | {key: value for key, value in flags.items() if value is not None}
