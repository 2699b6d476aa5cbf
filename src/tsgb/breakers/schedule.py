"""How loss weights and the learning rate change over a training: pure functions of the optimizer step.

The step counts finished optimizer steps, never micro-batches, so that neither accumulation nor a resumed run can shift
it.
From "Improving Alignment and Robustness with Circuit Breakers" (arXiv 2406.04313), algorithm 1.
"""

from __future__ import annotations


def coefficients(step: int, total: int, alpha: float) -> tuple[float, float]:
    """The paper's weights of the rerouting and the retain loss: α(1 − t/2T) and αt/2T."""
    progress = step / (2 * total)
    return alpha * (1 - progress), alpha * progress


def learning_rate(
    step: int, total: int, peak: float, *, warmup: int = 8, hold: float = 0.6, floor: float = 0.05
) -> float:
    """Linear warm-up over `warmup` steps, constant up to the share `hold` of all steps, then down to `floor` × peak."""
    descent = max(0.0, (step + 1) / total - hold) / (1 - hold)
    return peak * min(1.0, (step + 1) / warmup) * (1 - (1 - floor) * descent)
