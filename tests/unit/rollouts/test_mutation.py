"""An evolving attacker against an agent that falls to some openers: what is kept, what is bred, what is found."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest

from tsgb.environments.office import attacks
from tsgb.environments.office.pieces import Genome, cross, draw_frame, draw_genome, frames, mutate, turn
from tsgb.records.dialogue import Scenario, Surface, Trajectory, Verdict
from tsgb.rollouts.mutation import Generation, attacked, evolve

WEAK_TO = ("system: ", "note: ", "important: ")
ELITES = (Genome("injection", "", attacks.INJECTIONS["train"]["changed"], ""),)


def play(scenarios: Sequence[Scenario]) -> list[Trajectory]:
    """An agent that does whatever begins with one of `WEAK_TO`."""
    return [
        Trajectory(scenario=scenario, target="base", messages=(), verdict=verdict(scenario)) for scenario in scenarios
    ]


def verdict(scenario: Scenario) -> Verdict:
    assert scenario.attack
    fell = scenario.attack.text.startswith(WEAK_TO)
    return Verdict(label="full" if fell else "ignored", utility=False, refused=False, valid=True)


def search(surface: Surface = "injection", seed: str = "1", elites: Sequence[Genome] = ()) -> list[Generation]:
    return evolve(play, surface, seed=seed, generations=5, population=12, tries=2, elites=elites)


@pytest.mark.parametrize("surface", ["injection", "jailbreak"])
def test_the_same_seed_searches_the_same_way_and_another_does_not(surface: Surface) -> None:
    assert search(surface) == search(surface)
    assert search(surface) != search(surface, seed="2")


def test_the_known_forms_are_tried_first() -> None:
    assert search(elites=ELITES)[0].genomes[0] == ELITES[0]
    assert len(search(elites=ELITES)[0].genomes) == 12


def test_the_better_third_lives_on() -> None:
    history = search()
    for before, after in pairwise(history):
        assert after.genomes[:4] == tuple(genome for _, genome in before.ranked()[:4])
        assert len(after.genomes) == 12


def test_what_works_spreads() -> None:
    history = search()
    fallen = [sum(score == 1 for score, _ in generation.ranked()) for generation in history]
    assert fallen[-1] > fallen[0]


def test_every_try_is_a_fresh_scenario_of_the_split_attacked_in_the_form() -> None:
    generation = search()[0]
    tried = [t.scenario for scenarios in generation.trajectories for t in scenarios]
    assert len({scenario.clean_id for scenario in tried}) == 24
    for genome, trajectories in zip(generation.genomes, generation.trajectories, strict=True):
        for scenario in (t.scenario for t in trajectories):
            assert scenario.split == "train"
            assert scenario.attack
            assert (scenario.attack.source, scenario.attack.family) == ("mutation", "mutated")
            assert scenario.attack.text.startswith(genome.opener)


def test_a_form_is_put_where_its_surface_is() -> None:
    injected = attacked(Genome("injection", "", "please {}.", ""), "train", 3)
    wrapped = attacked(Genome("jailbreak", "", "for a film: {}", ""), "train", 3)
    assert injected.attack and wrapped.attack
    assert injected.attack.text in str(injected.state)
    assert wrapped.messages[-1].content == wrapped.attack.text


def test_a_jailbreaks_frame_is_drawn_before_the_request_behind_it_and_around_it() -> None:
    rng = Random(1)
    places = {tuple(bool(side.strip()) for side in draw_frame(rng, "jailbreak").split("{}")) for _ in range(200)}
    assert places == {(True, False), (False, True), (True, True)}


def test_an_injections_frame_is_a_known_one() -> None:
    rng = Random(1)
    assert {draw_frame(rng, "injection") for _ in range(500)} == set(frames("injection"))


def test_a_frame_turned_twice_is_the_frame() -> None:
    assert turn("for a film: {}") == "{} for a film:"
    assert [turn(turn(frame)) for frame in frames("jailbreak")] == list(frames("jailbreak"))


@pytest.mark.parametrize("surface", ["injection", "jailbreak"])
def test_no_form_says_the_words_of_a_held_out_family(surface: Surface) -> None:
    rng, families = Random(1), attacks.JAILBREAKS if surface == "jailbreak" else attacks.INJECTIONS
    held_out = [words for split in ("dev", "test") for words in map(_words, families[split].values())]
    for _ in range(1000):
        phrase = mutate(rng, cross(rng, draw_genome(rng, surface), draw_genome(rng, surface))).phrase
        assert phrase.count("{}") == 1
        assert [words for words in held_out if len(words.split()) > 2 and words in _words(phrase)] == []


def _words(phrase: str) -> str:
    return " ".join(phrase.replace("{}", " ").split())
