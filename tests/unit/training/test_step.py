"""A step's gradient does not depend on how the step is cut."""

from __future__ import annotations

import pytest
import torch

from tsgb.models.loading import Base
from tsgb.records.training import Example
from tsgb.training.engine import fresh_adapter
from tsgb.training.plan import TrainingPlan, by_stratum
from tsgb.training.references import References
from tsgb.training.step import PartWorker
from tsgb.training.vector import AdapterVector


def whole_gradient(base: Base, plan: TrainingPlan, examples: tuple[Example, ...]) -> torch.Tensor:
    fresh_adapter(base, "guard", plan)
    worker = PartWorker(base, "guard", plan, by_stratum(examples))
    vector = AdapterVector(base, "guard").read()
    return sum((worker.gradient(5, part, vector).gradient for part in range(plan.parts)), torch.zeros(()))


@pytest.mark.parametrize("cutting", [{"parts": 1, "micro_tokens": 10**6}, {"parts": 3, "micro_tokens": 1}])
def test_micro_batches_and_parts_do_not_change_the_gradient(
    cutting: dict[str, int], base: Base, plan: TrainingPlan, examples: tuple[Example, ...]
) -> None:
    expected = whole_gradient(base, plan, examples)
    assert expected.norm() > 1e-3
    torch.testing.assert_close(whole_gradient(base, plan.model_copy(update=cutting), examples), expected)


@pytest.mark.parametrize("kind", ["breaker", "retain", "twin"])
def test_every_loss_reaches_the_adapter(
    kind: str, base: Base, plan: TrainingPlan, examples: tuple[Example, ...]
) -> None:
    only = {f"{each}_batch": 3 if each == kind else 0 for each in ("breaker", "retain", "twin")}
    assert whole_gradient(base, plan.model_copy(update=only), examples).norm() > 1e-4


def test_a_reference_has_the_same_bits_whether_kept_or_computed_again(
    base: Base, plan: TrainingPlan, examples: tuple[Example, ...]
) -> None:
    kept, forgetful = References(base, plan), References(base, plan, limit=0)
    for example in examples:
        first = kept.of([example])
        assert torch.equal(kept.of([example]), first)
        assert torch.equal(forgetful.of([example]), first)


def test_an_adapter_at_zero_gives_the_frozen_states_and_no_way_to_start(
    base: Base, plan: TrainingPlan, examples: tuple[Example, ...]
) -> None:
    dead = plan.model_copy(update={"init_std": 0.0, "retain_batch": 0, "twin_batch": 0})
    assert whole_gradient(base, dead, examples).norm() < 1e-4
    assert whole_gradient(base, dead.model_copy(update={"init_std": 0.02}), examples).norm() > 1e-3
