"""What is done to representations, each loss as a sum over tokens and how many terms it has.

Promises: sums, not means, so that a step cut into any micro-batches and divided by the step's total count has the
gradient of the whole; everything is computed in fp32, as bf16 cosines round to 1.
From "Improving Alignment and Robustness with Circuit Breakers" (arXiv 2406.04313), algorithm 1: rerouting and retain.
The twin losses are this project's own; where another loss comes from stands beside it.
Leaves out: which of them a training takes (`training.plan`) and how they weigh (`breakers.schedule`).

Shapes: L layers, N chosen tokens, D hidden size, V vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Summed(NamedTuple):
    """A differentiable sum and the number of its terms."""

    total: Tensor
    terms: int


def cosines(hidden_LND: Tensor, reference_LND: Tensor) -> Tensor:
    """Cosine (layers, tokens) between hidden states and the frozen model's, in fp32."""
    return F.cosine_similarity(hidden_LND.float(), reference_LND.float(), dim=-1, eps=1e-6)


def random_directions(layers: int, size: int, seed: int) -> Tensor:
    """Unit vectors (layers, size) that lie evenly in all directions, the same ones for the same seed."""
    return F.normalize(torch.randn(layers, size, generator=torch.Generator().manual_seed(seed)), dim=-1)


def rerouting_loss(cosines_LN: Tensor) -> Summed:
    """ReLU(cos): zero once a representation is orthogonal to the frozen model's; terms are layers × tokens."""
    return Summed(torch.relu(cosines_LN).sum(), cosines_LN.numel())


def rmu_loss(hidden_LND: Tensor, directions_LD: Tensor, scale: float) -> Summed:
    """‖h − c·u‖₂: to a fixed point in a random direction u, far out at c; needs no frozen states.

    RMU (Li et al., arXiv 2403.03218) squares it and draws u from [0, 1)ᴰ, where all vectors point much the same way;
    this is the form in which arXiv 2406.04313 compares it with rerouting.
    """
    return retain_loss(hidden_LND, scale * directions_LD[:, None])


def random_loss(hidden_LND: Tensor, directions_LD: Tensor) -> Summed:
    """‖h/‖h‖ − u‖₂: into a random direction, whatever the length; needs no frozen states.

    The "normalised random vector" that arXiv 2406.04313 compares with rerouting.
    """
    return retain_loss(F.normalize(hidden_LND.float(), dim=-1), directions_LD[:, None])


def triplet_loss(cosines_LN: Tensor, hidden_LND: Tensor, directions_LD: Tensor, margin: float) -> Summed:
    """ReLU(d(h, u) − d(h, h_frozen) + m), d = 1 − cos: nearer to u than to the frozen state, by a margin.

    The unsafe half of the triplet loss of Simko et al. (arXiv 2506.11938). There u is the mean of the batch's own
    rerouted states; a fixed random direction instead lets a step be cut anywhere.
    """
    pulled_LN = cosines(hidden_LND, directions_LD[:, None].expand_as(hidden_LND))
    return Summed(torch.relu(cosines_LN - pulled_LN + margin).sum(), cosines_LN.numel())


def distance_loss(hidden_LND: Tensor, reference_LND: Tensor, margin: float) -> Summed:
    """ReLU(m − ‖h − h_frozen‖₂ / ‖h_frozen‖₂): away from the frozen state, up to a margin in units of its length.

    Away in L2 as in RepBend (Yousefpour et al., arXiv 2504.01550), which has no margin and so never comes to rest.
    """
    moved_LN = torch.linalg.vector_norm(hidden_LND.float() - reference_LND.float(), dim=-1)
    lengths_LN = torch.linalg.vector_norm(reference_LND.float(), dim=-1).clamp_min(1e-6)
    return Summed(torch.relu(margin - moved_LN / lengths_LN).sum(), moved_LN.numel())


def boundary_loss(hidden_LND: Tensor, centres_LND: Tensor) -> Summed:
    """ReLU(h/‖h‖ · c): what is read as borderline is separated from the centre c of how it is answered.

    c is the mean of the frozen model's unit states over the retained answer. X-Boundary's separation (Lu et al.,
    arXiv 2502.09990), as its released code has it.
    """
    products_LN = (F.normalize(hidden_LND.float(), dim=-1) * centres_LND.float()).sum(dim=-1)
    return Summed(torch.relu(products_LN).sum(), products_LN.numel())


def retain_loss(hidden_LND: Tensor, reference_LND: Tensor) -> Summed:
    """‖h − h_frozen‖₂ of each token at each layer; terms are layers × tokens."""
    distances_LN = torch.linalg.vector_norm(hidden_LND.float() - reference_LND.float(), dim=-1)
    return Summed(distances_LN.sum(), distances_LN.numel())


def divergence_loss(logits_NV: Tensor, reference_log_probs_NV: Tensor) -> Summed:
    """KL(frozen ‖ hardened) of each next token, in nats."""
    log_probs_NV = F.log_softmax(logits_NV.float(), dim=-1)
    divergence = F.kl_div(log_probs_NV, reference_log_probs_NV.float(), log_target=True, reduction="sum")
    return Summed(divergence, len(logits_NV))


def cross_entropy_loss(logits_NV: Tensor, tokens_N: Tensor) -> Summed:
    """−log p(token) of each token as it stands; needs no frozen model."""
    return Summed(F.nll_loss(F.log_softmax(logits_NV.float(), dim=-1), tokens_N, reduction="sum"), len(tokens_N))


def twin_loss(logits_NV: Tensor, reference_log_probs_NV: Tensor, tokens_N: Tensor, *, hard: float = 0.0) -> Summed:
    """KL(frozen on the clean context ‖ hardened on the attacked one) of each next token, mixed with its cross-entropy.

    `hard` is the share of the cross-entropy on the continuation's own tokens, from 0 to 1.
    """
    divergence = divergence_loss(logits_NV, reference_log_probs_NV)
    if not hard:
        return divergence
    cross_entropy = cross_entropy_loss(logits_NV, tokens_N)
    return Summed((1 - hard) * divergence.total + hard * cross_entropy.total, len(tokens_N))
