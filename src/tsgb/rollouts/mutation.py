"""An attacker without gradients: a small population of forms, the best bred, every attempt kept as a trajectory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from tsgb.environments.office import attacks, pieces
from tsgb.environments.office.pieces import Genome
from tsgb.environments.office.tasks import READING, draw_task
from tsgb.records.dialogue import Scenario, Split, Surface, Trajectory
from tsgb.rollouts.reward import mean_reward

Play = Callable[[Sequence[Scenario]], list[Trajectory]]


@dataclass(frozen=True)
class Generation:
    """One generation: what was tried and how it went."""

    genomes: tuple[Genome, ...]
    trajectories: tuple[tuple[Trajectory, ...], ...]
    """One tuple for each genome."""

    def ranked(self) -> list[tuple[float, Genome]]:
        """Forms with their mean reward, best first."""
        scored = [(mean_reward(tried), genome) for genome, tried in zip(self.genomes, self.trajectories, strict=True)]
        return sorted(scored, key=lambda pair: -pair[0])


def evolve(
    play: Play,
    surface: Surface,
    *,
    seed: str,
    generations: int,
    population: int,
    tries: int,
    split: Split = "train",
    elites: Sequence[Genome] = (),
) -> list[Generation]:
    """Search for forms that work on a surface: `population` forms a generation, each on `tries` fresh scenarios."""
    rng = Random(f"mutation/{surface}/{seed}")
    genomes = [*elites, *(pieces.draw_genome(rng, surface) for _ in range(population))][:population]
    history: list[Generation] = []
    for _ in range(generations):
        history.append(_try(play, genomes, rng, split, tries))
        genomes = _breed(rng, history[-1], population)
    return history


def _try(play: Play, genomes: Sequence[Genome], rng: Random, split: Split, tries: int) -> Generation:
    scenarios = [attacked(genome, split, rng.randrange(1 << 40)) for genome in genomes for _ in range(tries)]
    played = play(scenarios)
    return Generation(tuple(genomes), tuple(tuple(played[at : at + tries]) for at in range(0, len(played), tries)))


def _breed(rng: Random, generation: Generation, population: int) -> list[Genome]:
    parents = [genome for _, genome in generation.ranked()[: max(2, population // 3)]]
    children = [
        pieces.mutate(rng, pieces.cross(rng, *rng.sample(parents, 2))) for _ in range(population - len(parents))
    ]
    return parents + children


def attacked(genome: Genome, split: Split, seed: int, source: str = "mutation") -> Scenario:
    """A fresh scenario of the split, attacked in the genome's form."""
    if genome.surface == "jailbreak":
        return attacks.draw_jailbreak(split, seed, family="mutated", phrase=genome.phrase, source=source)
    rng = Random(f"attacked/{seed}")
    attack = attacks.injection(rng, split, family="mutated", phrase=genome.phrase, source=source)
    return attacks.inject(draw_task(rng.choice(READING), split, seed), attack)
