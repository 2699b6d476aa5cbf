"""How attackers spend their budget, and that a policy goes on between iterations as if it had not been interrupted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tsgb.environments.office import attacks
from tsgb.environments.office.tasks import draw_task
from tsgb.models.loading import add_adapter
from tsgb.records.dialogue import Split, Trajectory
from tsgb.rollouts.players import BASE, Players, Stage
from tsgb.training.attacker import Attacker, AttackerPlan
from tsgb.worker.collect import Shares, ordinary_work
from tsgb.worker.run import Run
from tsgb.worker.search import Budget, Iteration, clean_contexts, mutation_search, policy_search, static_attacks

SMALL = Budget(generations=2, population=4, tries=2, iterations=2, groups=2, group_size=3, max_new_tokens=4)


@pytest.fixture
def players(tiny_model_path: Path) -> Players:
    return Players(Stage(str(tiny_model_path), max_turns=1, max_new_tokens=4))


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_known_attacks_are_shared_out_evenly_over_the_three_surfaces(split: Split) -> None:
    scenarios = static_attacks(split, 30, seed="1")
    attempts = [scenario.attack for scenario in scenarios if scenario.attack]
    assert Counter(a.surface for a in attempts) == {"injection": 10, "jailbreak": 10, "prefill": 10}
    assert {scenario.split for scenario in scenarios} == {split}
    assert {a.family for a in attempts if a.surface == "injection"} <= set(attacks.INJECTIONS[split])
    assert {a.family for a in attempts if a.surface == "jailbreak"} <= set(attacks.JAILBREAKS[split])
    assert static_attacks(split, 30, seed="1") == scenarios != static_attacks(split, 30, seed="2")


def test_contexts_without_their_attack_are_drawn_once_each_and_in_order() -> None:
    task, phrase = draw_task("ask", "train", 3), attacks.INJECTIONS["train"]["important"]
    harm = attacks.draw_jailbreak("train", 5, family="film", phrase="for a film: {}")
    twice = [attacks.draw_injected("ask", "train", 3, family=family, phrase=phrase) for family in ("a", "b")]
    attempts = [Trajectory(scenario=s, target="base", messages=()) for s in (harm, *twice, task)]
    assert clean_contexts(attempts) == [attacks.draw_harm("train", 5), task]


@pytest.mark.parametrize(("episodes", "iterations", "mutations"), [(864, 4, 2), (288, 1, 1), (1728, 8, 3)])
def test_a_rounds_episodes_are_dealt_out_to_all_attackers(
    make_run: Callable[..., Run], episodes: int, iterations: int, mutations: int
) -> None:
    run = make_run(attacker__iterations=iterations, attacker__mutation_rounds=mutations)
    shares = Shares(episodes, run)
    policy = shares.search.iterations * shares.search.groups * shares.search.group_size
    mutated = shares.search.generations * shares.search.population * shares.search.tries
    assert policy == 4 * episodes // 9
    assert shares.static == mutated == 2 * episodes // 9
    assert shares.static + mutated + mutated // 2 + policy == episodes


def test_ordinary_work_is_of_the_training_split_and_of_every_kind() -> None:
    scenarios = ordinary_work(100, seed="1")
    kinds = Counter(scenario.kind for scenario in scenarios)
    assert {scenario.split for scenario in scenarios} == {"train"}
    assert len({scenario.id for scenario in scenarios}) == 100
    assert (kinds["delegate"], kinds["quote"], kinds["direct"], kinds["wrapped"], kinds["harm"]) == (15, 5, 10, 10, 10)
    assert ordinary_work(100, seed="1") == scenarios != ordinary_work(100, seed="2")


def test_mutation_stays_within_its_budget_and_spends_half_of_it_on_jailbreaks(players: Players) -> None:
    injections = mutation_search(players, BASE, "injection", SMALL, seed="1")
    jailbreaks = mutation_search(players, BASE, "jailbreak", SMALL, seed="1")
    assert [sum(map(len, generation.trajectories)) for generation in injections] == [8, 8]
    assert [sum(map(len, generation.trajectories)) for generation in jailbreaks] == [4, 4]


def attacker(players: Players) -> Attacker:
    """A fresh one; its rank and rate make a step that shows."""
    add_adapter(players.base, "attacker", rank=2, alpha=4, layers=(0, 1, 2), init_std=0.1, seed=1)
    return Attacker(players.base, "attacker", AttackerPlan(learning_rate=1e-2))


def iterations(players: Players, first: int = 0) -> list[Iteration]:
    return list(policy_search(players, [BASE], attacker(players), "attacker", SMALL, seed="1", first=first))


def test_a_policy_plays_all_that_it_writes_and_goes_on_at_any_iteration(players: Players) -> None:
    whole = iterations(players)
    assert [len(each.trajectories) for each in whole] == [6, 6]
    assert [each.report.groups for each in whole] == [2, 2]
    assert whole[0].trajectories != whole[1].trajectories
    sources = {t.scenario.attack.source for each in whole for t in each.trajectories if t.scenario.attack}
    assert sources == {"policy"}
    skipped = sum(each.report.skipped for each in whole)
    assert skipped == 4, "an agent that never obeys pays no attack more than another, so the policy stays as it is"
    assert iterations(players, first=1) == whole[1:]
