"""Environments by name, as scenarios refer to them."""

from __future__ import annotations

from tsgb.environments.base import Environment
from tsgb.environments.office import Office
from tsgb.errors import InputError

ENVIRONMENTS: dict[str, type[Office]] = {"office": Office}


def environment(name: str) -> Environment:
    """The environment of a name; raises `InputError` naming those that exist."""
    if name not in ENVIRONMENTS:
        raise InputError(f"There is no environment {name!r}; choose one of: {', '.join(sorted(ENVIRONMENTS))}.")
    return ENVIRONMENTS[name]()
