"""The losses are what their formulas say, and sums that may be cut anywhere."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tsgb.breakers.losses import cosines, rerouting_loss, retain_loss, twin_loss


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


def test_cutting_the_tokens_does_not_change_the_gradient() -> None:
    hidden, reference = states(0, 2, 9, 8).requires_grad_(), states(1, 2, 9, 8)
    for loss in (lambda h, r: rerouting_loss(cosines(h, r)), retain_loss):
        whole = loss(hidden, reference)
        pieces = [loss(hidden[:, cut], reference[:, cut]) for cut in (slice(0, 2), slice(2, 9))]
        assert sum(piece.terms for piece in pieces) == whole.terms
        (expected,) = torch.autograd.grad(whole.total / whole.terms, hidden)
        (summed,) = torch.autograd.grad(sum(piece.total for piece in pieces) / whole.terms, hidden)
        torch.testing.assert_close(summed, expected)
