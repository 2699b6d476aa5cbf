"""How sure a rate is, and whether two differ: closed forms, in the standard library alone.

Promises: no data (n = 0) is "unknown", never 0 or 1; bounds stay within what a proportion can be. For draws that belong
together (one task, several attacks) `clustered_rate` widens them; the others take draws as independent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


def clustered_rate(clusters: Iterable[tuple[int, int]]) -> Rate:
    """The same from (successes, draws) of every cluster: Wilson's interval at the effective number of draws.

    That is n over the design effect (L. Kish, Survey Sampling, 1965), the ratio of the variance between clusters to the
    binomial one, and never more than n (E. L. Korn and B. I. Graubard, Survey Methodology 24, 1998).
    Where all draws agree there is no variance to measure, and every cluster counts as one draw.
    """
    counted = [(successes, n) for successes, n in clusters if n]
    successes, n = sum(s for s, _ in counted), sum(m for _, m in counted)
    effective = n / _design_effect(counted, successes, n) if n else 0
    low, high = wilson(successes / n * effective if n else 0, effective)
    return Rate(successes=successes, total=n, low=low, high=high)


def _design_effect(clusters: Sequence[tuple[int, int]], successes: int, n: int) -> float:
    count, p = len(clusters), successes / n
    if count == 1 or successes in (0, n):
        return n / count
    between = sum((s - p * m) ** 2 for s, m in clusters) * count / (count - 1) / n**2
    return max(1.0, between / (p * (1 - p) / n))


def wilson(successes: float, n: float, confidence: float = 0.95) -> Interval:
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


def _check(successes: float, n: float) -> None:
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} is no proportion")
