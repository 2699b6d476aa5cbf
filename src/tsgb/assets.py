"""Where the shipped folders are: `cluster`, `manager`, `worker`, `checkpoints_schema`.

Finds them beside this module (a wheel) or at the repository's root (a checkout, an sdist, an editable install).
It hands out paths and never reads or writes what lies there.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent
_HOMES = (_PACKAGE / "_assets", _PACKAGE.parents[1])


def asset(name: str) -> Path:
    """Path of a shipped file or folder, such as `manager/tsgb.toml`; raises FileNotFoundError if there is none."""
    for home in _HOMES:
        if (home / name).exists():
            return home / name
    raise FileNotFoundError(f"{name} is in neither {_HOMES[0]} nor {_HOMES[1]}")
