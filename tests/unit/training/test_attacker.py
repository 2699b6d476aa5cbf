"""The attacker does more of what earned more, and nothing where nothing differed."""

from __future__ import annotations

import pytest
import torch

from tsgb.models.loading import Base, add_adapter, using
from tsgb.training.attacker import Attacker, AttackerPlan, Sample, advantages, clipped_objective
from tsgb.training.state import load_state, save_state

PROMPT = (7, 8, 9)
GOOD, BAD = (11, 12, 13, 14), (15, 16)
PLAN = AttackerPlan(learning_rate=5e-3, epochs=2)


def group(*rewards: float) -> list[Sample]:
    return [Sample(PROMPT, GOOD if reward > 0 else BAD, reward) for reward in rewards]


def probability(base: Base, name: str, completion: tuple[int, ...]) -> float:
    ids = torch.tensor([(*PROMPT, *completion)])
    with torch.no_grad(), using(base, name):
        log_probs = base.model(ids).logits[0, len(PROMPT) - 1 : -1].log_softmax(-1)
    return float(log_probs.gather(1, torch.tensor(completion)[:, None]).sum())


@pytest.fixture
def attacker(base: Base) -> Attacker:
    add_adapter(base, "attacker", rank=4, alpha=8, layers=(0, 1, 2), seed=3)
    return Attacker(base, "attacker", PLAN)


def test_what_earned_more_becomes_likelier(base: Base, attacker: Attacker) -> None:
    before = probability(base, "attacker", GOOD) - probability(base, "attacker", BAD)
    reports = [attacker.update([group(1, 0, 1, 0), group(0, 1)]) for _ in range(4)]
    after = probability(base, "attacker", GOOD) - probability(base, "attacker", BAD)
    assert after > before + 0.5
    assert reports[0].reward == pytest.approx(0.5)
    assert reports[0].tokens == 18
    assert reports[0].kl > 0
    assert reports[0].gradient_norm > 0


def test_groups_without_spread_are_skipped_and_counted(attacker: Attacker) -> None:
    before = attacker.state()
    report = attacker.update([group(1, 1, 1), group(0, 0)])
    assert (report.groups, report.skipped, report.tokens) == (2, 2, 0)
    assert attacker.state().steps == before.steps
    assert attacker.update([group(1, 1, 1), group(1, 0)]).skipped == 1


def test_known_log_probabilities_are_used(base: Base) -> None:
    add_adapter(base, "attacker", rank=4, alpha=8, layers=(0, 1, 2), seed=3)
    samples = [Sample(PROMPT, GOOD, 1.0, (-9.0,) * 4), Sample(PROMPT, BAD, 0.0, (-9.0,) * 2)]
    report = Attacker(base, "attacker", PLAN.model_copy(update={"epochs": 1})).update([samples])
    assert report.kl > 0.1
    assert report.clipped > 0.5


def test_advantages_sum_to_zero_and_leaving_one_out_scales_them() -> None:
    assert advantages([1, 0, 0, 0], "group_mean") == [0.75, -0.25, -0.25, -0.25]
    assert advantages([1, 0, 0, 0]) == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3])
    assert advantages([0.5, 0.5]) is None
    assert advantages([1.0]) is None


def test_the_objective_stops_rewarding_a_ratio_that_has_moved_far() -> None:
    moved = torch.log(torch.tensor([2.0, 0.5, 2.0, 0.5])).requires_grad_()
    objective = clipped_objective(moved, torch.tensor([1.0, 1.0, -1.0, -1.0]), 0.2)
    torch.testing.assert_close(objective.detach(), torch.tensor([1.2, 0.5, -2.0, -0.8]))
    (gradient,) = torch.autograd.grad(objective.sum(), moved)
    torch.testing.assert_close(gradient, torch.tensor([0.0, 0.5, -2.0, 0.0]))


def test_a_resumed_attacker_learns_the_same_bits(base: Base, attacker: Attacker, tmp_path) -> None:
    groups = [group(1, 0, 1, 0)]
    attacker.update(groups)
    save_state(attacker.state(), tmp_path, name="attacker", digest="d")
    attacker.update(groups)
    straight = attacker.state()
    add_adapter(base, "attacker", rank=4, alpha=8, layers=(0, 1, 2), seed=99)
    again = Attacker(base, "attacker", PLAN)
    again.load(load_state(tmp_path, name="attacker", digest="d"))
    again.update(groups)
    assert again.state().steps == straight.steps == 4
    assert all(torch.equal(again.state().adapter[key], straight.adapter[key]) for key in straight.adapter)
