"""Random numbers are functions of their place."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsgb.models.loading import Base, add_adapter, using
from tsgb.training.rng import KeyedDropout, add_dropout, drawing, key_of, splitmix64, uniform

MASK = 2**64 - 1


def reference(key: int, count: int) -> list[int]:
    """SplitMix64 as its paper writes it."""
    numbers, state = [], key
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        numbers.append(z ^ (z >> 31))
    return numbers


def test_the_first_numbers_are_those_others_publish() -> None:
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [number & MASK for number in splitmix64(1234567, 4).tolist()] == published


@given(st.integers(0, MASK))
def test_tensors_draw_what_integers_draw(key: int) -> None:
    assert [number & MASK for number in splitmix64(key, 5).tolist()] == reference(key, 5)


def test_numbers_fill_the_unit_interval_and_do_not_correlate_between_places() -> None:
    left, right = (uniform(key_of(0, 0, part, "site", 0), (400, 500)) for part in (0, 1))
    assert left.min() >= 0 and left.max() < 1
    assert float(left.mean()) == pytest.approx(0.5, abs=5e-3)
    assert float(left.var()) == pytest.approx(1 / 12, abs=1e-3)
    assert abs(float(torch.corrcoef(torch.stack([left.flatten(), right.flatten()]))[0, 1])) < 0.01


def test_every_part_of_a_place_counts() -> None:
    places = [(0, 0, 0, "a", 0), (1, 0, 0, "a", 0), (0, 1, 0, "a", 0), (0, 0, 1, "a", 0), (0, 0, 0, "b", 0)]
    assert len({key_of(*place) for place in [*places, (0, 0, 0, "a", 1)]}) == 6


def test_dropout_keeps_the_mean_and_draws_anew_at_every_call() -> None:
    dropout = KeyedDropout(0.25, "site")
    ones = torch.ones(1000, 100)
    with drawing([dropout], seed=0, step=3, part=1):
        first, second = dropout(ones), dropout(ones)
    with drawing([dropout], seed=0, step=3, part=1):
        assert torch.equal(dropout(ones), first)
    assert not torch.equal(first, second)
    assert float(first.mean()) == pytest.approx(1, abs=0.01)
    assert torch.equal(dropout(ones), ones)


def test_an_adapters_modules_drop_only_while_drawing(base: Base) -> None:
    add_adapter(base, "guard", rank=4, alpha=8, layers=(0,), init_std=0.1)
    ids = torch.arange(8)[None]
    with using(base, "guard"), torch.no_grad():
        before = base.model(ids).logits
        sites = add_dropout(base, "guard", 0.5)
        assert len(sites) == 7
        assert torch.equal(base.model(ids).logits, before)
        with drawing(sites, seed=0, step=0, part=0):
            assert not torch.equal(base.model(ids).logits, before)
        assert torch.equal(base.model(ids).logits, before)
    assert add_dropout(base, "guard", 0.0) == []
