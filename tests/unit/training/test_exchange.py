"""Vectors are added in the order of their parts, on any number of processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tsgb.training.world import Ranks, World

from .programs import add_up, part_vector

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("size", "parts", "length"), [(2, 5, 70), (3, 4, 100), (4, 3, 50)])
def test_all_ranks_get_the_sum_in_the_parts_order(
    size: int, parts: int, length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    with Ranks(size, add_up, parts, length, tmp_path) as ranks:
        assert ranks.wait() == [0] * size
    vectors = [part_vector(part, length) for part in range(parts)]
    expected = vectors[0]
    for vector in vectors[1:]:
        expected = expected + vector
    assert not torch.equal(sum(reversed(vectors)), expected)
    for rank in range(size):
        found = load_file(tmp_path / str(rank))
        assert torch.equal(found["sum"], expected)
        assert torch.equal(found["rows"], torch.stack([vector[:2].double() for vector in vectors]))


def test_every_part_has_one_rank() -> None:
    for size in range(1, 6):
        assert sorted(part for rank in range(size) for part in World(rank, size).parts(4)) == [0, 1, 2, 3]


def test_a_rank_that_dies_ends_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    with Ranks(2, add_up, 2, 10**8, tmp_path) as ranks:
        ranks.kill(1)
        assert ranks.wait()[1] == -9
        assert all(not process.is_alive() for process in ranks.processes)
