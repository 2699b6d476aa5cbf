"""Episodes beside each other: the same trajectories from any number of processes, and a word when a helper is lost."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tsgb.environments.office.tasks import draw_task
from tsgb.errors import ModelError, SettingsError
from tsgb.models.loading import add_adapter, save_adapter
from tsgb.records.dialogue import Message
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


def test_a_dialogue_longer_than_the_models_context_ends_in_an_error_and_the_others_do_not(stage: Stage) -> None:
    longer = (Message(role="user", content="pay @karo and " * 300),)
    scenarios = [*SCENARIOS[:2], SCENARIOS[2].model_copy(update={"messages": longer}), *SCENARIOS[3:5]]
    with Players(stage) as players:
        played, expected = players.play(scenarios), players.play(SCENARIOS[:5])
    assert [each.error is None for each in played] == [True, True, False, True, True]
    assert "tokens, and " in str(played[2].error)
    assert "reads 512; bring a model with a longer context" in str(played[2].error)
    assert [played[at].messages for at in (0, 1, 3, 4)] == [expected[at].messages for at in (0, 1, 3, 4)]


def test_the_last_token_of_a_context_is_read_and_none_after_it(stage: Stage) -> None:
    with Players(stage) as players:
        one = torch.tensor([[5]])
        assert players.base.model(one, position_ids=torch.tensor([[511]])).logits.shape[1] == 1
        with pytest.raises(ModelError, match=r"has come to 513 tokens, and .* reads 512"):
            players.base.model(one, position_ids=torch.tensor([[512]]))
