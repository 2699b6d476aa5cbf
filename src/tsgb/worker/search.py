"""How attackers look for what breaks a target: known attacks, mutation of forms, a policy that learns by GRPO.

Every attempt is returned as a judged trajectory: the successes become the breaker set, and all attacked contexts
twins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from tsgb.environments.office import attacks
from tsgb.environments.office.pieces import Genome
from tsgb.environments.office.tasks import READING
from tsgb.models.rendering import encode
from tsgb.records.dialogue import Scenario, Split, Surface, Trajectory
from tsgb.rollouts.engines.base import Completion, Sampling
from tsgb.rollouts.mutation import Generation, evolve
from tsgb.rollouts.players import Players, Target
from tsgb.rollouts.policy import Prompt, draw_prompt, write
from tsgb.rollouts.reward import mean_reward
from tsgb.training.attacker import Attacker, AttackReport, Sample


@dataclass(frozen=True)
class Budget:
    """How much an attacker may try."""

    generations: int = 3
    population: int = 24
    tries: int = 4
    iterations: int = 4
    groups: int = 12
    group_size: int = 8
    temperature: float = 1.0
    max_new_tokens: int = 48


def static_attacks(split: Split, count: int, *, seed: str) -> list[Scenario]:
    """Known attacks in turn: an injection, a jailbreak, a forced beginning."""
    rng = Random(f"static/{split}/{seed}")
    return [_static(rng, split, index % 3) for index in range(count)]


def _static(rng: Random, split: Split, turn: int) -> Scenario:
    seed = rng.randrange(1 << 40)
    if turn == 2:
        return attacks.draw_prefill(split, seed)
    surface: Surface = "jailbreak" if turn == 1 else "injection"
    family, phrase = rng.choice(
        sorted((attacks.JAILBREAKS if surface == "jailbreak" else attacks.INJECTIONS)[split].items())
    )
    if surface == "jailbreak":
        return attacks.draw_jailbreak(split, seed, family=family, phrase=phrase)
    return attacks.draw_injected(rng.choice(READING), split, seed, family=family, phrase=phrase)


def mutation_search(
    players: Players,
    target: Target,
    surface: Surface,
    budget: Budget,
    *,
    seed: str,
    split: Split = "train",
    elites: Sequence[Genome] = (),
) -> list[Generation]:
    """Evolve forms of attack on a surface against a target."""
    return evolve(
        lambda scenarios: players.play(scenarios, target),
        surface,
        seed=seed,
        generations=budget.generations,
        population=budget.population if surface == "injection" else budget.population // 2,
        tries=budget.tries,
        split=split,
        elites=elites,
    )


@dataclass(frozen=True)
class Iteration:
    """One GRPO iteration: what was tried on every target, the first one first, and what the update saw."""

    trajectories: tuple[Trajectory, ...]
    report: AttackReport


def policy_search(
    players: Players,
    targets: Sequence[Target],
    attacker: Attacker,
    name: str,
    budget: Budget,
    *,
    seed: str,
    split: Split = "train",
    first: int = 0,
) -> Iterator[Iteration]:
    """Let the attacker adapter `name` write, play its words against every target, and learn from the mean reward."""
    for number in range(first, budget.iterations):
        rng = Random(f"policy/{seed}/{number}")
        prompts = [draw_prompt(split, rng.randrange(1 << 40)) for _ in range(budget.groups)]
        sampling = Sampling(
            temperature=budget.temperature, max_new_tokens=budget.max_new_tokens, seed=rng.randrange(1 << 31)
        )
        written = write(players.engine, prompts, group=budget.group_size, adapter=name, sampling=sampling)
        played = [players.play([scenario for group in written for _, scenario in group], target) for target in targets]
        rewards = [mean_reward(tried) for tried in zip(*played, strict=True)]
        report = attacker.update(_samples(players, prompts, written, rewards))
        yield Iteration(tuple(trajectory for tried in played for trajectory in tried), report)


def _samples(
    players: Players,
    prompts: Sequence[Prompt],
    written: Sequence[Sequence[tuple[Completion, Scenario]]],
    rewards: Sequence[float],
) -> list[list[Sample]]:
    earned = iter(rewards)
    groups = []
    for prompt, group in zip(prompts, written, strict=True):
        ids = encode(players.base.tokenizer, prompt.dialogue, add_generation_prompt=True).ids
        groups.append([Sample(ids, tuple(c.token_ids), next(earned), tuple(c.logprobs)) for c, _ in group])
    return groups


def clean_contexts(attacked: Sequence[Trajectory]) -> list[Scenario]:
    """The scenarios without their attacks, each once, in order of first appearance."""
    return [attacks.redraw(name) for name in dict.fromkeys(t.scenario.clean_id for t in attacked) if name is not None]
