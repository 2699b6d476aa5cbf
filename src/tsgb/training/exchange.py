"""Adding virtual ranks' vectors in one fixed order, whichever process computed which.

Promises: element by element the sum is ((v₀ + v₁) + v₂) + …, so it has the same bits for any number of processes. Every
process adds one slice: a vector of P numbers costs a process (V/N + 1)·P·(N−1)/N numbers sent for V virtual ranks on N
processes, which for V = N is what a ring all-reduce costs.
Leaves out: which parts a process computes (`training.world`).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, distributed

from tsgb.training.world import World


def sum_in_order(mine: Mapping[int, Tensor], parts: int, world: World, length: int) -> Tensor:
    """The sum over all parts of vectors (length,), of which this process brings those of `world.parts(parts)`."""
    if world.size == 1:
        return _added([mine[part] for part in range(parts)])
    width = -(-length // world.size)
    total = _added(_slices(mine, parts, world, width))
    whole = total.new_empty(world.size * width)
    distributed.all_gather_into_tensor(whole, total)
    return whole[:length]


def gather_rows(mine: Mapping[int, Tensor], parts: int, world: World, length: int) -> Tensor:
    """All parts' short rows as one tensor (parts, length) of fp64; nothing is rounded: others' rows are zeros."""
    table = torch.zeros(parts, length, dtype=torch.float64)
    for part, row in mine.items():
        table[part] = row
    distributed.all_reduce(table)
    return table


def _slices(mine: Mapping[int, Tensor], parts: int, world: World, width: int) -> list[Tensor]:
    """This process's slice (width,) of every part's vector, in the parts' order."""
    brought = [len(world.parts(parts, rank)) for rank in range(world.size)]
    sent = torch.zeros(len(mine), world.size * width)
    for row, part in enumerate(world.parts(parts)):
        sent[row, : mine[part].numel()] = mine[part]
    sent = sent.view(len(mine), world.size, width).transpose(0, 1).contiguous()
    received = torch.empty(parts * width)
    distributed.all_to_all_single(
        received, sent.view(-1), [count * width for count in brought], [len(mine) * width] * world.size
    )
    order = [part for rank in range(world.size) for part in world.parts(parts, rank)]
    return [
        piece for _, piece in sorted(zip(order, received.view(parts, width), strict=True), key=lambda pair: pair[0])
    ]


def _added(vectors: list[Tensor]) -> Tensor:
    total = vectors[0].clone()
    for vector in vectors[1:]:
        total += vector
    return total
