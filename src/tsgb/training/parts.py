"""How a step's examples are cut: fixed virtual ranks of about equal work, each in micro-batches of similar length.

The cut depends on the examples alone, never on how many processes compute it: so one and two agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from tsgb.records.training import Example


def cut(examples: Sequence[Example], parts: int) -> list[list[Example]]:
    """`parts` lists of about equal token counts: the longest example first, each to the lightest list."""
    lists: list[list[Example]] = [[] for _ in range(parts)]
    weights = [0] * parts
    for example in sorted(examples, key=_by_length, reverse=True):
        lightest = weights.index(min(weights))
        lists[lightest].append(example)
        weights[lightest] += len(example.ids)
    return lists


def micro_batches(part: Sequence[Example], tokens: int) -> Iterator[list[Example]]:
    """Examples of one kind and similar length together, at most `tokens` padded tokens, or else a single example."""
    for _, members in groupby(sorted(part, key=_by_kind_and_length), lambda example: example.kind):
        batch: list[Example] = []
        for example in members:
            if batch and (len(batch) + 1) * len(example.ids) > tokens:
                yield batch
                batch = []
            batch.append(example)
        yield batch


def packed_batches(
    part: Sequence[Example], tokens: int, reach: Callable[[Example], tuple[int, float]]
) -> Iterator[list[Example]]:
    """Examples that need the model as far up together, at most `tokens` in all, or else a single example."""
    for _, members in groupby(sorted(part, key=lambda example: (reach(example), _by_length(example))), reach):
        batch: list[Example] = []
        for example in members:
            if batch and sum(len(each.ids) for each in batch) + len(example.ids) > tokens:
                yield batch
                batch = []
            batch.append(example)
        yield batch


def _by_kind_and_length(example: Example) -> tuple[str, int, str]:
    return example.kind, *_by_length(example)


def _by_length(example: Example) -> tuple[int, str]:
    return len(example.ids), example.id
