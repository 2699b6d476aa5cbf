"""Weights and rates follow the finished optimizer steps."""

from __future__ import annotations

import pytest

from tsgb.breakers.schedule import coefficients, learning_rate


def test_weights_move_from_rerouting_to_retaining_and_add_up_to_alpha() -> None:
    assert coefficients(0, 150, 10.0) == (10.0, 0.0)
    assert coefficients(150, 150, 10.0) == (5.0, 5.0)
    assert all(sum(coefficients(step, 150, 10.0)) == pytest.approx(10.0) for step in range(151))


def test_the_rate_warms_up_holds_and_descends_to_a_twentieth() -> None:
    rates = [learning_rate(step, 100, 1.0) for step in range(100)]
    assert rates[:8] == pytest.approx([(step + 1) / 8 for step in range(8)])
    assert set(rates[7:60]) == {1.0}
    assert rates[60:] == sorted(rates[60:], reverse=True)
    assert rates[-1] == pytest.approx(0.05)
