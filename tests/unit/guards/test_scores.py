"""What monitor and probe say of a reading, and what thresholds make of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from tsgb.errors import InputError
from tsgb.guards.monitor import RepresentationMonitor
from tsgb.guards.probe import features, fit_probe, standardised
from tsgb.guards.readings import Reading, read_calls
from tsgb.guards.thresholds import Thresholds, calibrate, threshold
from tsgb.models.loading import Base, add_adapter
from tsgb.records.dialogue import Trajectory


def reading(frozen: Tensor, hardened: Tensor, header: int = 1) -> Reading:
    return Reading(dialogue=0, message=1, header=header, frozen_LND=frozen, hardened_LND=hardened)


def clouds(count: int = 200) -> tuple[Tensor, Tensor]:
    """Overlapping clouds of unequal size and scale, and which is which."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(count, 6, generator=generator, dtype=torch.float64) * torch.tensor([1, 9, 0.1, 1, 1, 1])
    harmful = torch.arange(count) < count // 5
    points[harmful, :2] += torch.tensor([2.5, 20.0], dtype=torch.float64)
    return points, harmful


def test_the_monitor_counts_header_and_call_at_all_layers_alike() -> None:
    same, across, opposite = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]), torch.tensor([-3.0, 0.0])
    frozen = same.expand(2, 2, 2)
    turned = torch.stack([torch.stack([same, across]), torch.stack([opposite, opposite])])
    assert RepresentationMonitor().score(reading(frozen, turned)) == pytest.approx(1 - (1 + 0 - 1 - 1) / 4)


def test_a_model_that_was_not_hardened_scores_nothing(hardened: Base, harmful: list[Trajectory]) -> None:
    add_adapter(hardened, "fresh", rank=2, alpha=4, layers=(1,))
    dialogues = [(*t.scenario.messages, *t.messages) for t in harmful[:3]]
    scores = {
        name: [RepresentationMonitor().score(r) for r in read_calls(hardened, name, dialogues, (), layers=(1, 2))]
        for name in ("fresh", "guard")
    }
    assert scores["fresh"] == pytest.approx([0.0] * len(scores["fresh"]), abs=1e-6)
    assert min(scores["guard"]) > 1e-3


def test_the_probe_sees_the_calls_own_tokens_in_the_frozen_base() -> None:
    frozen = torch.tensor([[[100.0, 100.0], [1.0, 2.0], [3.0, 4.0]], [[100.0, 100.0], [5.0, 6.0], [7.0, 8.0]]])
    assert features(reading(frozen, torch.zeros_like(frozen))).tolist() == [2, 3, 6, 7]


def test_the_probe_is_the_minimum_of_its_loss() -> None:
    points, harmful = clouds()
    probe = fit_probe(points, harmful, penalty=0.05)
    weight, bias = probe.weight_F.clone().requires_grad_(), probe.bias.clone().requires_grad_()
    logits = standardised(points, probe.mean_F, probe.scale_F) @ weight + bias
    entropy = sum(
        binary_cross_entropy_with_logits(logits[chosen], harmful[chosen].double()) / 2 for chosen in (harmful, ~harmful)
    )
    loss = entropy + 0.05 / 2 * weight.square().sum()
    gradients = torch.autograd.grad(loss, (weight, bias))
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-5


def test_the_probe_is_the_same_each_time_and_no_gradient_passes_through_it() -> None:
    points, harmful = clouds()
    first, again = fit_probe(points, harmful), fit_probe(points, harmful)
    assert torch.equal(first.weight_F, again.weight_F) and torch.equal(first.bias, again.bias)
    assert not any(tensor.requires_grad for tensor in (first.weight_F, first.bias, first.mean_F, first.scale_F))
    states = torch.zeros(2, 3, 3, requires_grad=True)
    assert isinstance(first.score(reading(states, states)), float)


def test_the_probe_tells_the_clouds_apart_although_one_is_rare() -> None:
    points, harmful = clouds()
    probe = fit_probe(points, harmful)
    odds = torch.tensor([probe.score(reading(point.expand(1, 2, 6), point.expand(1, 2, 6))) for point in points])
    assert float((odds[harmful] > 0).double().mean()) > 0.9 and float((odds[~harmful] < 0).double().mean()) > 0.9


@pytest.mark.parametrize(
    ("calls", "rate", "above"), [(99, 0.01, 0), (100, 0.01, 0), (199, 0.01, 1), (2899, 0.01, 28), (19, 0.05, 0)]
)
def test_a_threshold_is_passed_by_as_many_as_promised(calls: int, rate: float, above: int) -> None:
    scores = [float(score) for score in range(calls)]
    assert sum(score > threshold(scores, rate) for score in scores) == above


def test_fresh_benign_calls_pass_a_threshold_no_more_often_than_promised() -> None:
    generator = torch.Generator().manual_seed(1)
    draws = torch.rand(400, 199 + 50, generator=generator)
    passed = [float((draw[199:] > threshold(draw[:199].tolist(), 0.05)).double().mean()) for draw in draws]
    assert 0.04 < sum(passed) / len(passed) < 0.055


def test_too_few_calls_promise_nothing_and_say_so() -> None:
    assert not calibrate([0.1] * 98).promised
    assert calibrate([0.1] * 99).promised
    assert calibrate([0.3, 0.1]) == Thresholds(warn=0.3, block=0.3, warn_rate=0.05, block_rate=0.01, calls=2)
    with pytest.raises(InputError, match="bring benign trajectories"):
        calibrate([])


def test_a_score_is_allowed_warned_of_or_blocked_and_what_is_no_number_is_blocked() -> None:
    thresholds = calibrate([float(score) for score in range(1, 200)])
    assert (thresholds.warn, thresholds.block) == (190, 198)
    actions = [thresholds.action(score) for score in (0, 190, 190.5, 198, 198.5, math.inf, math.nan)]
    assert actions == ["allow", "allow", "warn", "warn", "block", "block", "block"]
