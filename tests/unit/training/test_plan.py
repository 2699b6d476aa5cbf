"""Every step's examples follow from the plan, the seed and the step."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsgb.errors import InputError
from tsgb.records.training import Example, Kind
from tsgb.training.parts import cut, micro_batches
from tsgb.training.plan import TrainingPlan, by_stratum, digest, draw


def example(kind: Kind, source: str, number: int, length: int = 3) -> Example:
    tokens = {"ids": (7,) * length, "mask": (True,) * length}
    return Example(id=f"{source}{number:03d}", kind=kind, stratum=f"{kind}/{source}", **tokens)


STRATA = by_stratum(
    [example("breaker", "found", n) for n in range(5)]
    + [example("breaker", "static", n) for n in range(7)]
    + [example("retain", "benign", n) for n in range(11)]
)
PLAN = TrainingPlan(
    steps=20,
    breaker_batch=4,
    retain_batch=3,
    twin_batch=0,
    stratum_weights={"breaker/found": 3.0, "breaker/static": 1.0},
)


def test_a_step_is_drawn_alike_whatever_was_drawn_before() -> None:
    forwards = [draw(PLAN, STRATA, step) for step in range(20)]
    backwards = [draw(PLAN, STRATA, step) for step in reversed(range(20))]
    assert forwards == backwards[::-1]
    assert forwards != [draw(PLAN.model_copy(update={"seed": 1}), STRATA, step) for step in range(20)]


def test_strata_come_in_their_shares_and_batches_are_full() -> None:
    steps = [draw(PLAN, STRATA, step) for step in range(20)]
    assert {len(step) for step in steps} == {7}
    counts = Counter(each.stratum for step in steps for each in step)
    assert counts == {"breaker/found": 60, "breaker/static": 20, "retain/benign": 60}


def test_no_example_comes_twice_before_all_of_its_stratum_have_come() -> None:
    drawn = [each for step in range(20) for each in draw(PLAN, STRATA, step)]
    for name, members in STRATA.items():
        ids = [each.id for each in drawn if each.stratum == name]
        laps = [ids[start : start + len(members)] for start in range(0, len(ids), len(members))]
        assert all(len(set(lap)) == len(lap) for lap in laps)


def test_a_kind_without_examples_is_refused_with_the_cure() -> None:
    with pytest.raises(InputError, match="set twin_batch to 0"):
        draw(PLAN.model_copy(update={"twin_batch": 2}), STRATA, 0)


def test_the_digest_knows_the_plan_the_examples_and_the_base() -> None:
    fewer = {name: members[:-1] for name, members in STRATA.items()}
    other = PLAN.model_copy(update={"alpha": 5.0})
    names = {digest(PLAN, STRATA), digest(other, STRATA), digest(PLAN, fewer), digest(PLAN, STRATA, "base")}
    assert len(names) == 4


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(1, 4), st.integers(1, 200))
def test_parts_and_micro_batches_hold_each_example_once(lengths: list[int], parts: int, tokens: int) -> None:
    kinds: tuple[Kind, ...] = ("breaker", "retain")
    drawn = [example(kinds[n % 2], "x", n, length) for n, length in enumerate(lengths)]
    lists = cut(drawn, parts)
    weights = [sum(len(each.ids) for each in part) for part in lists]
    assert max(weights) - min(weights) <= max(lengths)
    batches = [batch for part in lists if part for batch in micro_batches(part, tokens)]
    assert sorted(each.id for batch in batches for each in batch) == sorted(each.id for each in drawn)
    assert all(len(batch) == 1 or len(batch) * max(len(each.ids) for each in batch) <= tokens for batch in batches)
    assert all(len({each.kind for each in batch}) == 1 for batch in batches)
