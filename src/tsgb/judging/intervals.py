"""How sure a rate is, and whether two differ: closed forms and exact sums, in the standard library alone.

Promises: no data (n = 0) is "unknown", never 0 or 1; bounds stay within what a proportion can be.
Leaves out: clustered data; for draws that belong together (one scenario, many attacks) these bounds are too narrow.
"""

from __future__ import annotations

from math import comb, exp, lgamma, log, log1p, sqrt
from statistics import NormalDist

Interval = tuple[float, float]


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


def upper_bound(successes: int, n: int, confidence: float = 0.95) -> float:
    """One-sided exact upper bound (C. J. Clopper and E. S. Pearson, Biometrika 26, 1934); about 3/n for none of n."""
    _check(successes, n)
    if successes == n:
        return 1.0
    low, high = successes / n, 1.0
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if _at_most(successes, n, middle) > 1 - confidence else (low, middle)
    return high


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Exact, conservative interval of a proportion (same source as `upper_bound`); (0, 1) when n is 0."""
    one_sided = (1 + confidence) / 2
    return 1 - upper_bound(n - successes, n, one_sided), upper_bound(successes, n, one_sided)


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


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value for paired outcomes that differ (Q. McNemar, Psychometrika 12, 1947); 1 if none does."""
    n = only_first + only_second
    tail = sum(comb(n, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / (1 << n))


def _at_most(successes: int, n: int, p: float) -> float:
    """P(X ≤ successes) for X of n with probability 0 < p < 1, in logarithms so that large n do not overflow."""
    return sum(
        exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log(p) + (n - k) * log1p(-p))
        for k in range(successes + 1)
    )


def _check(successes: int, n: int) -> None:
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} is no proportion")
