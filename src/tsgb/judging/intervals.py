"""How sure a rate is, and whether two differ: closed forms, in the standard library alone.

Promises: no data (n = 0) is "unknown", never 0 or 1; bounds stay within what a proportion can be.
Leaves out: clustered data; for draws that belong together (one scenario, many attacks) these bounds are too narrow.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from statistics import NormalDist

from tsgb.records.report import Rate

Interval = tuple[float, float]


def rate(outcomes: Iterable[bool]) -> Rate:
    """How often something happened, with its Wilson 95 % interval."""
    values = list(outcomes)
    return rate_of(sum(values), len(values))


def rate_of(successes: int, n: int) -> Rate:
    """The same from counts."""
    low, high = wilson(successes, n)
    return Rate(successes=successes, total=n, low=low, high=high)


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Score interval of a proportion (E. B. Wilson, JASA 22, 1927); (0, 1) when n is 0."""
    _check(successes, n)
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return (max(0.0, centre - half) if successes else 0.0), (min(1.0, centre + half) if successes < n else 1.0)


def difference(first: tuple[int, int], second: tuple[int, int], confidence: float = 0.95) -> Interval:
    """Interval of p₁ − p₂ for independent (successes, n) pairs (R. G. Newcombe, Stat. Med. 17, 1998, method 10).

    (−1, 1) when either n is 0.
    """
    if first[1] == 0 or second[1] == 0:
        return -1.0, 1.0
    (low1, high1), (low2, high2) = wilson(*first, confidence), wilson(*second, confidence)
    p1, p2 = first[0] / first[1], second[0] / second[1]
    below = sqrt((p1 - low1) ** 2 + (high2 - p2) ** 2)
    above = sqrt((high1 - p1) ** 2 + (p2 - low2) ** 2)
    return p1 - p2 - below, p1 - p2 + above


def _check(successes: int, n: int) -> None:
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} is no proportion")
