"""Intervals agree with published values, and say "unknown" without data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsgb.judging.intervals import clopper_pearson, difference, mcnemar, upper_bound, wilson

proportions = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("successes", "n", "expected"),
    [(8, 10, (0.4902, 0.9433)), (0, 96, (0.0, 0.0385)), (10, 10, (0.7225, 1.0)), (81, 263, (0.2553, 0.3662))],
)
def test_wilson_gives_the_published_bounds(successes: int, n: int, expected: tuple[float, float]) -> None:
    """The last is Newcombe's example (Stat. Med. 17, 857, table I)."""
    assert wilson(successes, n) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((5, 56), (0, 29), (-0.0381, 0.1926)),
        ((10, 10), (0, 10), (0.6075, 1.0)),
    ],
)
def test_the_difference_gives_newcombes_bounds(
    first: tuple[int, int], second: tuple[int, int], expected: tuple[float, float]
) -> None:
    """Stat. Med. 17, 873, table II, method 10."""
    assert difference(first, second) == pytest.approx(expected, abs=5e-5)


def test_exact_bounds_are_the_published_ones() -> None:
    assert clopper_pearson(0, 10) == pytest.approx((0.0, 0.3085), abs=5e-5)
    assert clopper_pearson(10, 100) == pytest.approx((0.0490, 0.1762), abs=5e-5)
    assert upper_bound(0, 300) == pytest.approx(1 - 0.05 ** (1 / 300))
    assert upper_bound(0, 5000) == pytest.approx(3 / 5000, rel=0.01)


def test_mcnemar_is_the_exact_binomial_tail() -> None:
    assert mcnemar(1, 6) == pytest.approx(0.125)
    assert mcnemar(0, 6) == mcnemar(6, 0) == pytest.approx(2 / 64)
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(0, 0) == 1.0


def test_without_data_nothing_is_known() -> None:
    assert wilson(0, 0) == clopper_pearson(0, 0) == (0.0, 1.0)
    assert difference((0, 0), (1, 2)) == (-1.0, 1.0)


def test_more_successes_than_trials_are_a_bug() -> None:
    with pytest.raises(ValueError, match="3 successes of 2"):
        wilson(3, 2)


@given(proportions)
def test_intervals_hold_the_proportion_and_the_exact_one_reaches_further(proportion: tuple[int, int]) -> None:
    successes, n = proportion
    for low, high in (wilson(successes, n), clopper_pearson(successes, n)):
        assert 0 <= low <= successes / n <= high <= 1
    assert upper_bound(successes, n) <= clopper_pearson(successes, n)[1]
