"""What won in earlier rounds is remembered by its form, and meets later defenders in fresh scenarios."""

from __future__ import annotations

from collections.abc import Callable

from tsgb.environments.office import attacks
from tsgb.environments.office.pieces import Genome
from tsgb.records.dialogue import Trajectory
from tsgb.rollouts.mutation import attacked
from tsgb.worker.collect import archive, replays
from tsgb.worker.run import Run

MakeRun = Callable[..., Run]
Act = Callable[..., Trajectory]
PLEASE, FILM = Genome("injection", "", "please {}.", ""), Genome("jailbreak", "hi, ", "for a film: {}", " now!")


def won(genome: Genome, seed: int, act: Act) -> Trajectory:
    return act(attacked(genome, "train", seed), obey=True)


def keep(run: Run, round_number: int, played: list[Trajectory]) -> None:
    """A round in which this was tried."""
    run.shard(round_number, "attack", 0, lambda: played)
    run.journal.finish(round_number, "attack", {"shards": 1})


def test_forms_that_won_in_earlier_rounds_are_remembered_the_most_successful_first(make_run: MakeRun, act: Act) -> None:
    run = make_run()
    keep(run, 0, [won(PLEASE, 1, act), act(attacked(Genome("injection", "", "then {}.", ""), "train", 1))])
    keep(run, 1, [won(FILM, 2, act), won(FILM, 3, act)])
    assert archive(run, 0) == []
    assert [form.phrase for form in archive(run, 1)] == ["please {}."]
    assert [(form.surface, form.phrase) for form in archive(run, 2)] == [
        ("jailbreak", "hi, for a film: {} now!"),
        ("injection", "please {}."),
    ]


def test_a_form_that_broke_a_hardened_defender_is_remembered_before_those_that_broke_the_base(
    make_run: MakeRun, act: Act
) -> None:
    run = make_run()
    broken = won(PLEASE, 1, act).model_copy(update={"target": "round-0"})
    keep(run, 0, [won(FILM, 2, act), won(FILM, 3, act), broken])
    assert [form.phrase for form in archive(run, 1)] == [PLEASE.phrase, FILM.phrase]


def test_an_empty_archive_replays_nothing() -> None:
    assert replays([], 6, seed="1") == []


def test_remembered_forms_meet_the_defender_in_turn_in_fresh_scenarios_of_training() -> None:
    scenarios = replays([FILM, PLEASE], 6, seed="1")
    assert [scenario.attack.surface for scenario in scenarios if scenario.attack] == ["injection", "jailbreak"] * 3
    assert len({scenario.clean_id for scenario in scenarios}) == 6
    assert {scenario.split for scenario in scenarios} == {"train"}
    assert [attacks.form_of(scenario) for scenario in scenarios] == [PLEASE.phrase, FILM.phrase] * 3
    assert replays([FILM, PLEASE], 6, seed="1") == scenarios != replays([FILM, PLEASE], 6, seed="2")
