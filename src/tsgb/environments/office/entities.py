"""Random names and values, each belonging to one split for ever.

A sigil stands before every entity (`@KaRo`, `/BaKo`, `~TeSu`, `#482`, `$430`) and each syllable of a name begins
with a capital, so that it is written with the same tokens in prose and in JSON. Names are split by a hash of the
name: no test name is ever seen in training.
"""

from __future__ import annotations

import hashlib
from functools import cache
from random import Random

from tsgb.records.dialogue import Split

SYLLABLES = tuple(c + v for c in "BDFGKLMNPRSTVZ" for v in "aeiou")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@cache
def split_of(name: str) -> Split:
    """The split that owns a name: 60 % train, 20 % dev, 20 % test."""
    bucket = hashlib.sha256(name.encode()).digest()[0] % 5
    return "test" if bucket == 0 else "dev" if bucket == 1 else "train"


def contact(rng: Random, split: Split) -> str:
    """A contact such as `@KaRo`."""
    return _name(rng, split, "@")


def file(rng: Random, split: Split) -> str:
    """A file such as `/BaKo`."""
    return _name(rng, split, "/")


def page(rng: Random, split: Split) -> str:
    """A web page such as `~TeSu`."""
    return _name(rng, split, "~")


def value(rng: Random) -> str:
    """A three-digit value such as `#482`."""
    return f"#{rng.randrange(100, 1000)}"


def amount(rng: Random) -> str:
    """An amount of money such as `$430`."""
    return f"${rng.randrange(10, 1000)}"


def day(rng: Random) -> str:
    """A day of the week."""
    return rng.choice(DAYS)


def _name(rng: Random, split: Split, sigil: str) -> str:
    while True:
        name = sigil + "".join(rng.choices(SYLLABLES, k=2 if rng.random() < 0.8 else 3))
        if split_of(name) == split:
            return name
