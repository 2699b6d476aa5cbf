"""Tiny agents trained from scratch: the embedded default, the black box for transfer, the models that tests play with.

They are built by one command from nothing but a seed, so the project needs no download to run whole.
"""

from __future__ import annotations

from pathlib import Path


def shipped() -> Path:
    """The folder of the surrogate that comes with the package."""
    return Path(__file__).parent / "shipped"
