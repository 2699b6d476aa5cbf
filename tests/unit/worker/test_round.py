"""Stages and parts are done once, rounds build on what was accepted, and gates say why they stay shut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tsgb.checkpoints import open_run
from tsgb.environments.office.tasks import draw_task
from tsgb.errors import SettingsError
from tsgb.records.dialogue import Trajectory
from tsgb.rollouts.players import BASE
from tsgb.settings import load_settings
from tsgb.storage import LocalStore
from tsgb.worker.collect import plan
from tsgb.worker.exams import suite_size
from tsgb.worker.local import run_record
from tsgb.worker.run import Run, dump_trajectories, load_trajectories

MakeRun = Callable[..., Run]
PLAYED = [Trajectory(scenario=draw_task("ask", "train", seed), target="base", messages=()) for seed in range(3)]


def test_a_part_is_played_once_and_kept_as_it_was_played(make_run: MakeRun) -> None:
    run, played = make_run(), list[int]()

    def play() -> list[Trajectory]:
        played.append(1)
        return PLAYED

    assert run.shard(0, "rollout", 0, play) == run.shard(0, "rollout", 0, play) == PLAYED
    assert played == [1]


def test_trajectories_survive_their_trip_through_lines() -> None:
    assert load_trajectories(dump_trajectories(PLAYED)) == PLAYED
    assert dump_trajectories(PLAYED).count(b"\n") == len(PLAYED)


def test_all_parts_of_a_stage_come_in_their_order(make_run: MakeRun) -> None:
    run = make_run()
    for number, trajectory in enumerate(PLAYED):
        run.shard(0, "attack", number, lambda trajectory=trajectory: [trajectory])  # type: ignore[misc]
    run.journal.finish(0, "attack", {"shards": 3})
    assert run.shards(0, "attack") == PLAYED


def test_the_first_round_defends_with_the_base_and_attacks_afresh(make_run: MakeRun) -> None:
    assert plan(make_run(run__seed=7), 0) == {"defender": None, "attacker": None, "split": "train", "seed": 7}


@pytest.mark.parametrize(
    ("accepted", "defender"),
    [((False, False), None), ((True, False), "bundle-0"), ((False, True), "bundle-1"), ((True, True), "bundle-1")],
)
def test_the_newest_accepted_bundle_defends_and_the_last_attacker_attacks(
    make_run: MakeRun, accepted: tuple[bool, ...], defender: str | None
) -> None:
    run = make_run()
    for n, verdict in enumerate(accepted):
        run.journal.finish(n, "gates", {"accepted": verdict, "bundle": f"bundle-{n}"})
        run.journal.finish(n, "attack", {"commit": f"attacker-{n}"})
    assert (plan(run, 2)["defender"], plan(run, 2)["attacker"]) == (defender, "attacker-1")


def test_nobody_is_called_by_a_name_that_chance_gave(make_run: MakeRun) -> None:
    run = make_run()
    for commit in ("e1/r0-guards-s0-01234567", "e4/r0-guards-s0-89abcdef"):
        (run.scratch / commit.replace("/", "_")).mkdir(parents=True)
        assert run.target(commit).name == "round-0"
    assert run.target(None) == BASE


def test_the_suite_is_as_large_as_the_settings_say(make_run: MakeRun) -> None:
    size = suite_size(make_run(evaluation__benign=5, evaluation__attacked=7, evaluation__harmful=3).settings.evaluation)
    assert (size.benign, size.attacked, size.delegated, size.over_refusal, size.harmful) == (5, 7, 3, 3, 3)


def test_a_run_remembers_its_settings_less_what_changes_no_result() -> None:
    one = run_record(load_settings(None, {"run.processes": 1, "storage.root": "here"}), "d")
    changes = {"run.processes": 2, "storage.root": "there", "run.steps_between_checkpoints": 3}
    assert one == run_record(load_settings(None, changes), "d")
    assert one != run_record(load_settings(None, {"run.seed": 1}), "d")
    assert {"tsgb", "tokenizers"} <= one.versions.keys()


def test_a_model_whose_weights_have_changed_is_refused(tmp_path: Path) -> None:
    store, settings = LocalStore(tmp_path), load_settings(None)
    open_run(store, run_record(settings, "old"))
    with pytest.raises(SettingsError, match=r'model\.digest was "old", now "new"; set them back'):
        open_run(store, run_record(settings, "new"))
