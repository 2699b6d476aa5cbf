"""How loss weights and the learning rate change over a training: pure functions of the optimizer step.

The step counts finished optimizer steps, never micro-batches, so that neither accumulation nor a resumed run can shift
it. The one exception is the schedule of the paper's released code, kept to compare with.
From "Improving Alignment and Robustness with Circuit Breakers" (arXiv 2406.04313), algorithm 1.
"""

from __future__ import annotations

from math import cos, pi

from tsgb.errors import InputError
from tsgb.records.recipe import UPSTREAM_PASSES, Decay


def get_alpha(
    step: int, alpha_max: float, total_steps: int, strategy: Decay = "linear", decay_multiplier: float = 2.0
) -> float:
    """α(t) falls from α_max to 0 over `decay_multiplier` × all steps, in a line or as half a cosine wave.

    At a multiplier of 2 the last step has α_max / 2, as the paper's c_s has.
    """
    return alpha_max * max(0.0, 1 - _progress(step, total_steps, strategy, decay_multiplier))


def get_dual_coefficients(
    step: int, total_steps: int, alpha_max: float, strategy: Decay = "linear", decay_multiplier: float = 2.0
) -> tuple[float, float]:
    """Weights of the rerouting and the retain loss, which add up to α; as they stand the paper's α(1 − t/2T), αt/2T."""
    retain_share = _progress(step, total_steps, strategy, decay_multiplier)
    return get_alpha(step, alpha_max, total_steps, strategy, decay_multiplier), alpha_max * retain_share


def get_upstream_coefficients(training_pass: int, alpha: float) -> tuple[float, float]:
    """The released code's weights: it counts training passes from 1, micro-batches included, out of a fixed 300.

    Raises `InputError` from the 300th on, where that code stops because it has no rerouting loss left to add.
    """
    if training_pass >= UPSTREAM_PASSES:
        raise InputError(
            f"The upstream schedule ends before pass {UPSTREAM_PASSES}, and this is pass {training_pass}; "
            "take fewer steps or micro-batches, or the mode paper."
        )
    progress = training_pass / UPSTREAM_PASSES
    return alpha * (1 - progress), alpha * progress


def learning_rate(
    step: int, total: int, peak: float, *, warmup: int = 8, hold: float = 0.6, floor: float = 0.05
) -> float:
    """Linear warm-up over `warmup` steps, constant up to the share `hold` of all steps, then down to `floor` × peak."""
    descent = max(0.0, (step + 1) / total - hold) / (1 - hold)
    return peak * min(1.0, (step + 1) / warmup) * (1 - (1 - floor) * descent)


def _progress(step: int, total: int, strategy: Decay, multiplier: float) -> float:
    """How much of the weight has moved, from 0 to 1."""
    progress = min(1.0, step / (multiplier * total))
    return progress if strategy == "linear" else 0.5 * (1 - cos(pi * progress))
