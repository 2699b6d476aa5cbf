"""Intervals agree with published values, and say "unknown" without data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsgb.judging.intervals import clustered_rate, difference, rate, rate_of, wilson

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


def test_without_data_nothing_is_known() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert difference((0, 0), (1, 2)) == (-1.0, 1.0)


def test_more_successes_than_trials_are_a_bug() -> None:
    with pytest.raises(ValueError, match="3 successes of 2"):
        wilson(3, 2)


@given(proportions)
def test_an_interval_holds_its_proportion(proportion: tuple[int, int]) -> None:
    successes, n = proportion
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n <= high <= 1


def test_outcomes_and_their_counts_are_the_same_rate() -> None:
    counted = rate(outcome == "1" for outcome in "1101111011")
    assert (counted.successes, counted.total) == (8, 10)
    assert (counted.low, counted.high) == wilson(8, 10)
    assert counted == rate_of(8, 10)


def test_draws_that_agree_within_their_cluster_count_as_one() -> None:
    twice = clustered_rate([(2, 2)] * 30 + [(0, 2)] * 70)
    assert (twice.successes, twice.total) == (60, 200)
    assert (twice.low, twice.high) == pytest.approx(wilson(30, 100), abs=2e-3)
    assert (clustered_rate([(0, 2)] * 100).high, clustered_rate([(2, 2)] * 100).low) == (
        wilson(0, 100)[1],
        wilson(100, 100)[0],
    )


def test_clusters_of_one_and_clusters_that_even_out_give_wilsons_bounds() -> None:
    alone = clustered_rate([(1, 1)] * 30 + [(0, 1)] * 70)
    assert (alone.low, alone.high) == pytest.approx(wilson(30, 100), abs=1e-3)
    even = clustered_rate([(1, 2)] * 100)
    assert (even.low, even.high) == pytest.approx(wilson(100, 200))
    assert clustered_rate([(0, 0)]) == rate_of(0, 0)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30))
def test_clusters_never_make_an_interval_narrower(successes: list[int]) -> None:
    clustered, apart = clustered_rate([(s, 3) for s in successes]), rate_of(sum(successes), 3 * len(successes))
    assert clustered.low <= apart.low + 1e-12 and clustered.high >= apart.high - 1e-12
