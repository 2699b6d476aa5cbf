"""Nothing that a trainer saves could be left out: without one field it ends with other bits, or refuses to go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import NamedTuple

import pytest

from tsgb.errors import InputError
from tsgb.models.loading import Base, add_adapter
from tsgb.records.training import Example
from tsgb.training.attacker import Attacker, AttackerPlan, Sample
from tsgb.training.defender import Defender
from tsgb.training.optimizer import OptimizerState
from tsgb.training.plan import TrainingPlan
from tsgb.training.state import state_digest

FIELDS = [field.name for field in fields(OptimizerState)]
GROUPS = [[Sample((7, 8, 9), (11, 12, 13), 1.0), Sample((7, 8, 9), (15, 16), 0.0)]]
SEED = 7


class Trainer(NamedTuple):
    """A trainer at its beginning, and one of its steps."""

    load: Callable[[OptimizerState], None]
    state: Callable[[], OptimizerState]
    step: Callable[[], object]


@pytest.fixture(params=["defender", "attacker"])
def fresh(
    request: pytest.FixtureRequest, base: Base, examples: tuple[Example, ...], plan: TrainingPlan
) -> Callable[[], Trainer]:
    def made() -> Trainer:
        if request.param == "defender":
            defender = Defender(base, examples, plan.model_copy(update={"steps": 4}))
            return Trainer(defender.load, defender.state, defender.step)
        add_adapter(base, "attacker", rank=4, alpha=8, layers=(0, 1, 2), seed=3)
        attacker = Attacker(base, "attacker", AttackerPlan(learning_rate=5e-3))
        return Trainer(attacker.load, attacker.state, lambda: attacker.update(GROUPS))

    return made


@pytest.mark.parametrize("omitted", [None, *FIELDS])
def test_each_field_matters(fresh: Callable[[], Trainer], omitted: str | None) -> None:
    straight = fresh()
    beginning = straight.state()
    straight.step()
    straight.step()
    half = replace(straight.state(), seed=SEED)
    straight.load(half)
    straight.step()
    resumed = fresh()
    without = replace(half, **{omitted: getattr(beginning, omitted)}) if omitted else half
    try:
        resumed.load(without)
    except InputError:
        assert omitted in ("steps", "learning_rate")
        return
    resumed.step()
    assert (state_digest(resumed.state()) == state_digest(straight.state())) == (omitted is None)
