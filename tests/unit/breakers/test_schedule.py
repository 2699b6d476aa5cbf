"""Weights and rates follow the finished optimizer steps."""

from __future__ import annotations

from math import cos, pi

import pytest

from tsgb.breakers.schedule import (
    get_alpha,
    get_dual_coefficients,
    get_upstream_coefficients,
    learning_rate,
)
from tsgb.errors import InputError
from tsgb.records.recipe import Decay

STRATEGIES: tuple[Decay, ...] = ("linear", "cosine")


def test_the_papers_weights_are_its_formula_to_the_last_bit() -> None:
    for step in range(151):
        progress = step / (2 * 150)
        assert get_dual_coefficients(step, 150, 10.0) == (10.0 * (1 - progress), 10.0 * progress)
    assert get_dual_coefficients(150, 150, 10.0) == (5.0, 5.0)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("multiplier", [0.5, 1.0, 2.0])
def test_weights_move_from_rerouting_to_retaining_and_add_up_to_alpha(strategy: Decay, multiplier: float) -> None:
    pairs = [get_dual_coefficients(step, 40, 10.0, strategy, multiplier) for step in range(41)]
    assert pairs[0] == (10.0, 0.0)
    assert [sum(pair) for pair in pairs] == pytest.approx([10.0] * 41)
    assert [rerouting for rerouting, _ in pairs] == sorted((rerouting for rerouting, _ in pairs), reverse=True)
    assert pairs[-1][0] == pytest.approx(5.0 if multiplier == 2 else 0.0)


def test_the_single_alpha_is_the_rerouting_half_of_the_dual_weights() -> None:
    for strategy in STRATEGIES:
        alphas = [get_alpha(step, 10.0, 40, strategy) for step in range(41)]
        assert alphas == [get_dual_coefficients(step, 40, 10.0, strategy)[0] for step in range(41)]
    assert get_alpha(20, 10.0, 40, "cosine", 1.0) == pytest.approx(10.0 * 0.5 * (1 + cos(pi / 2)))


def test_the_upstream_weights_ignore_how_long_the_training_is_and_end_before_pass_300() -> None:
    assert get_upstream_coefficients(1, 10.0) == (10.0 * (1 - 1 / 300), 10.0 / 300)
    assert get_upstream_coefficients(150, 10.0) == (5.0, 5.0)
    with pytest.raises(InputError, match="this is pass 300; take fewer steps"):
        get_upstream_coefficients(300, 10.0)


def test_the_rate_warms_up_holds_and_descends_to_a_twentieth() -> None:
    rates = [learning_rate(step, 100, 1.0) for step in range(100)]
    assert rates[:8] == pytest.approx([(step + 1) / 8 for step in range(8)])
    assert set(rates[7:60]) == {1.0}
    assert rates[60:] == sorted(rates[60:], reverse=True)
    assert rates[-1] == pytest.approx(0.05)
