"""The losses are what their formulas say, and sums that may be cut anywhere."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tsgb.breakers.losses import (
    boundary_loss,
    cosines,
    cross_entropy_loss,
    distance_loss,
    divergence_loss,
    random_directions,
    random_loss,
    rerouting_loss,
    retain_loss,
    rmu_loss,
    triplet_loss,
    twin_loss,
)

DIRECTIONS = random_directions(2, 8, seed=3)
REROUTING = {
    "cosine": lambda h, r: rerouting_loss(cosines(h, r)),
    "rmu": lambda h, r: rmu_loss(h, DIRECTIONS, 6.5),
    "random": lambda h, r: random_loss(h, DIRECTIONS),
    "triplet": lambda h, r: triplet_loss(cosines(h, r), h, DIRECTIONS, 1.0),
    "distance": lambda h, r: distance_loss(h, r, 3.0),
}
"""Rerouting losses of hidden and frozen states of two layers with eight dimensions."""


def states(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_rerouting_is_nothing_for_opposite_and_orthogonal_states_and_one_for_equal_ones() -> None:
    reference = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [2.0, 0.0]]])
    hidden = torch.tensor([[[-3.0, 0.0], [0.0, 5.0], [7.0, 0.0]]])
    total, terms = rerouting_loss(cosines(hidden, reference))
    assert (float(total), terms) == (1.0, 3)


def test_a_zero_state_makes_no_nan() -> None:
    hidden = torch.zeros(1, 2, 4, requires_grad=True)
    for loss in (rerouting_loss(cosines(hidden, torch.ones(1, 2, 4))), retain_loss(hidden, torch.zeros(1, 2, 4))):
        (gradient,) = torch.autograd.grad(loss.total, hidden)
        assert torch.isfinite(gradient).all()


def test_cosines_of_bf16_states_are_computed_in_fp32() -> None:
    hidden, reference = states(0, 1, 5, 64).bfloat16(), states(1, 1, 5, 64).bfloat16()
    assert torch.equal(cosines(hidden, reference), cosines(hidden.float(), reference.float()))


def test_retain_is_the_mean_distance() -> None:
    hidden, reference = states(0, 2, 3, 8), states(1, 2, 3, 8)
    total, terms = retain_loss(hidden, reference)
    assert float(total / terms) == pytest.approx(float((hidden - reference).norm(dim=-1).mean()))


def test_the_twin_loss_is_the_divergence_from_the_frozen_model_or_the_cross_entropy() -> None:
    scores, frozen = states(0, 4, 7), states(1, 4, 7).log_softmax(-1)
    tokens = torch.tensor([1, 2, 3, 4])
    divergence = (frozen.exp() * (frozen - scores.log_softmax(-1))).sum()
    torch.testing.assert_close(twin_loss(scores, frozen, tokens).total, divergence)
    entropy = F.cross_entropy(scores, tokens, reduction="sum")
    torch.testing.assert_close(twin_loss(scores, frozen, tokens, hard=1.0).total, entropy)
    assert float(twin_loss(frozen, frozen, tokens).total) == pytest.approx(0, abs=1e-6)


def test_random_directions_are_units_that_a_seed_decides() -> None:
    assert torch.allclose(DIRECTIONS.norm(dim=-1), torch.ones(2))
    assert torch.equal(random_directions(2, 8, seed=3), DIRECTIONS)
    assert not torch.equal(random_directions(2, 8, seed=4), DIRECTIONS)


def test_a_state_at_its_target_costs_nothing() -> None:
    there = DIRECTIONS[:, None]
    assert float(rmu_loss(6.5 * there, DIRECTIONS, 6.5).total) == pytest.approx(0, abs=1e-5)
    assert float(random_loss(100 * there, DIRECTIONS).total) == pytest.approx(0, abs=1e-5)
    assert float(random_loss(-there, DIRECTIONS).total) == pytest.approx(4.0)
    aside = torch.linalg.qr(torch.cat([DIRECTIONS[0:1], states(1, 1, 8)]).T)[0].T[1]
    frozen = torch.stack([aside, aside])[:, None]
    assert float(triplet_loss(cosines(there, frozen), there, DIRECTIONS, 0.0).total) == 0.0


def test_the_triplet_compares_two_cosine_distances_with_a_margin() -> None:
    hidden, reference = states(0, 2, 3, 8), states(1, 2, 3, 8)
    near = 1 - F.cosine_similarity(hidden, DIRECTIONS[:, None], dim=-1)
    far = 1 - F.cosine_similarity(hidden, reference, dim=-1)
    expected = torch.clamp(near - far + 0.5, min=0).sum()
    torch.testing.assert_close(triplet_loss(cosines(hidden, reference), hidden, DIRECTIONS, 0.5).total, expected)


def test_distance_pushes_until_the_margin_in_units_of_the_frozen_length() -> None:
    reference = torch.tensor([[[3.0, 4.0]] * 3])
    hidden = reference + torch.tensor([[[0.0, 0.0], [2.5, 0.0], [0.0, 10.0]]])
    total, terms = distance_loss(hidden, reference, 1.0)
    assert (float(total), terms) == (pytest.approx(1.0 + 0.5 + 0.0), 3)


def test_the_boundary_loss_counts_only_what_points_towards_the_centre() -> None:
    centre = torch.tensor([[[0.5, 0.0]] * 3])
    hidden = torch.tensor([[[7.0, 0.0], [0.0, 1.0], [-2.0, 0.0]]])
    assert float(boundary_loss(hidden, centre).total) == pytest.approx(0.5)


def test_divergence_and_cross_entropy_are_the_two_halves_of_the_twin_loss() -> None:
    scores, frozen, tokens = states(0, 4, 7), states(1, 4, 7).log_softmax(-1), torch.tensor([1, 2, 3, 4])
    assert torch.equal(divergence_loss(scores, frozen).total, twin_loss(scores, frozen, tokens).total)
    assert torch.equal(cross_entropy_loss(scores, tokens).total, twin_loss(scores, frozen, tokens, hard=1.0).total)


@pytest.mark.parametrize("name", REROUTING)
def test_rerouting_losses_are_computed_in_fp32(name: str) -> None:
    hidden, reference = states(0, 2, 5, 8).bfloat16(), states(1, 2, 5, 8).bfloat16()
    total = REROUTING[name](hidden, reference).total
    assert torch.equal(total, REROUTING[name](hidden.float(), reference.float()).total)


@pytest.mark.parametrize("name", REROUTING)
def test_only_losses_that_look_at_the_frozen_state_alone_have_a_dead_start(name: str) -> None:
    frozen = states(1, 2, 5, 8)
    hidden = frozen.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(REROUTING[name](hidden, frozen).total, hidden)
    assert (float(gradient.norm()) < 1e-5) == (name in ("cosine", "distance"))


def test_cutting_the_tokens_does_not_change_the_gradient() -> None:
    hidden, reference = states(0, 2, 9, 8).requires_grad_(), states(1, 2, 9, 8)
    for loss in (*REROUTING.values(), retain_loss, boundary_loss):
        whole = loss(hidden, reference)
        pieces = [loss(hidden[:, cut], reference[:, cut]) for cut in (slice(0, 2), slice(2, 9))]
        assert sum(piece.terms for piece in pieces) == whole.terms
        (expected,) = torch.autograd.grad(whole.total / whole.terms, hidden)
        (summed,) = torch.autograd.grad(sum(piece.total for piece in pieces) / whole.terms, hidden)
        torch.testing.assert_close(summed, expected)
