"""Memory for time: of each block only the input is kept, and what happened inside is computed again going backward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from tsgb.models.loading import find_blocks


@contextmanager
def recomputed(model: PreTrainedModel) -> Iterator[None]:
    """Until the block ends, the model's blocks keep no activations; the backward pass has to happen inside it.

    Whatever decides what a block computes (the adapter in use, `models.packing`) must still be so at that time.
    """
    blocks = find_blocks(model)[1]
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
