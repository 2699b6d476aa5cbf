"""Episodes beside each other: the same trajectories from any number of processes, and a word when a helper is lost."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from tsgb.environments.office.tasks import draw_task
from tsgb.errors import SettingsError
from tsgb.models.loading import add_adapter, save_adapter
from tsgb.rollouts.players import CHUNK, Players, Stage, Target

SCENARIOS = [draw_task("ask", "train", seed) for seed in range(2 * CHUNK + 5)]


@pytest.fixture
def stage(tiny_model_path: Path) -> Stage:
    return Stage(str(tiny_model_path), max_turns=1, max_new_tokens=2)


def test_two_processes_play_what_one_plays_until_a_helper_is_lost(stage: Stage) -> None:
    with Players(stage) as alone:
        expected = alone.play(SCENARIOS)
    heard: list[tuple[int, int]] = []
    with Players(stage, processes=2) as players:
        assert players.play(SCENARIOS, tell=lambda done, total: heard.append((done, total))) == expected
        for child in multiprocessing.active_children():
            child.kill()
        with pytest.raises(SettingsError, match=r"ended from outside.*set run\.processes to 1"):
            players.play(SCENARIOS)
    assert heard == [(done, len(SCENARIOS)) for done in (CHUNK, 2 * CHUNK, len(SCENARIOS))]
    assert multiprocessing.active_children() == []


def test_two_adapters_of_one_name_are_told_apart_by_their_folders(stage: Stage, tmp_path: Path) -> None:
    with Players(replace(stage, max_new_tokens=8)) as players:
        for folder in ("a", "b"):
            add_adapter(players.base, "made", rank=4, alpha=64, layers=(0, 1, 2), init_std=1.0, seed=ord(folder))
            save_adapter(players.base, "made", tmp_path / folder)
        first, second, again = (
            players.play(SCENARIOS[:8], Target("guard", tmp_path / folder)) for folder in ("a", "b", "a")
        )
    assert first == again != second
    assert {trajectory.target for trajectory in (*first, *second)} == {"guard"}
