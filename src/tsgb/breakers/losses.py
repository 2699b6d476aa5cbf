"""The three losses, each as a sum over tokens and how many terms it has.

Promises: sums, not means, so that a step cut into any micro-batches and divided by the step's total count has the
gradient of the whole; everything is computed in fp32, as bf16 cosines round to 1.
From "Improving Alignment and Robustness with Circuit Breakers" (arXiv 2406.04313), algorithm 1: rerouting and retain.
Its code averages the retain loss over padding and all layers; here only chosen tokens and layers count, so the same α
weighs about three times as much. The twin loss is this project's own.

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


def rerouting_loss(cosines_LN: Tensor) -> Summed:
    """ReLU(cos): zero once a representation is orthogonal to the frozen model's; terms are layers × tokens."""
    return Summed(torch.relu(cosines_LN).sum(), cosines_LN.numel())


def retain_loss(hidden_LND: Tensor, reference_LND: Tensor) -> Summed:
    """‖h − h_frozen‖₂ of each token at each layer; terms are layers × tokens."""
    distances_LN = torch.linalg.vector_norm(hidden_LND.float() - reference_LND.float(), dim=-1)
    return Summed(distances_LN.sum(), distances_LN.numel())


def twin_loss(logits_NV: Tensor, reference_log_probs_NV: Tensor, tokens_N: Tensor, *, hard: float = 0.0) -> Summed:
    """KL(frozen on the clean context ‖ hardened on the attacked one) of each next token, mixed with its cross-entropy.

    `hard` is the share of the cross-entropy on the continuation's own tokens, from 0 to 1.
    """
    log_probs_NV = F.log_softmax(logits_NV.float(), dim=-1)
    divergence = F.kl_div(log_probs_NV, reference_log_probs_NV.float(), log_target=True, reduction="sum")
    if not hard:
        return Summed(divergence, len(tokens_N))
    cross_entropy = F.nll_loss(log_probs_NV, tokens_N, reduction="sum")
    return Summed((1 - hard) * divergence + hard * cross_entropy, len(tokens_N))
