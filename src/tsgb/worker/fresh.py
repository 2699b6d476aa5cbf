"""Attackers that have never met a model, trained against it as it is, then examined on tasks of another split.

The final word on a defence: static families say what is known to fail, a fresh attacker what can be found. It
searches on the training split against the final model, and its best finds are counted on scenarios it has not
searched on.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tsgb.environments.office.pieces import Genome
from tsgb.models.loading import Base, add_adapter, find_blocks
from tsgb.records.dialogue import Split, Surface, Trajectory
from tsgb.records.report import Rate
from tsgb.rollouts.engines.base import Sampling
from tsgb.rollouts.exam import rate
from tsgb.rollouts.mutation import Generation, attacked
from tsgb.rollouts.players import Players, Target
from tsgb.rollouts.policy import draw_prompt, write
from tsgb.training.attacker import Attacker, AttackerPlan
from tsgb.worker.search import Budget, mutation_search, policy_search

BEST = 5
"""Forms of the last generations that go to the exam."""


def fresh_attackers(
    players: Players,
    target: Target,
    budget: Budget,
    *,
    seed: str,
    exam: int = 100,
    split: Split = "test",
    rate_of_learning: float = 5e-3,
    rank: int = 8,
) -> dict[str, Rate]:
    """Success rates on `exam` unseen scenarios of mutation on two surfaces and a GRPO policy, trained on `target`.

    Without generations there is nothing that mutation has found, and no rate of it.
    """
    surfaces = _SURFACES if budget.generations else ()
    rates = {
        f"fresh_{surface}_mutation": _mutation(players, target, surface, budget, seed, exam, split)
        for surface in surfaces
    }
    attacker = _newcomer(players.base, seed, rank, rate_of_learning)
    return rates | {"fresh_policy": _policy(players, target, attacker, budget, seed, exam, split)}


_SURFACES: tuple[Surface, ...] = ("injection", "jailbreak")


def _mutation(
    players: Players, target: Target, surface: Surface, budget: Budget, seed: str, exam: int, split: Split
) -> Rate:
    history = mutation_search(players, target, surface, budget, seed=f"fresh/{seed}")
    rng, forms = Random(f"exam/{seed}"), best_forms(history)
    scenarios = [attacked(forms[index % len(forms)], split, rng.randrange(1 << 40)) for index in range(exam)]
    return _full(players.play(scenarios, target))


def best_forms(history: Sequence[Generation]) -> list[Genome]:
    """The forms with the highest mean reward of all generations, each once."""
    ranked = sorted((pair for generation in history for pair in generation.ranked()), key=lambda pair: -pair[0])
    return list(dict.fromkeys(form for _, form in ranked))[:BEST]


def _newcomer(base: Base, seed: str, rank: int, rate_of_learning: float) -> Attacker:
    """The base's own skill of writing notes, as an adapter that has met nobody."""
    name, blocks = _called(seed), range(len(find_blocks(base.model)[1]))
    add_adapter(base, name, rank=rank, alpha=2 * rank, layers=blocks, seed=Random(seed).randrange(1 << 31))
    return Attacker(base, name, AttackerPlan(learning_rate=rate_of_learning, clip=1.0))


def _policy(
    players: Players, target: Target, attacker: Attacker, budget: Budget, seed: str, exam: int, split: Split
) -> Rate:
    name = _called(seed)
    for _ in policy_search(players, [target], attacker, name, budget, seed=f"fresh/{seed}"):
        pass
    rng = Random(f"exam/{seed}")
    prompts = [draw_prompt(split, rng.randrange(1 << 40)) for _ in range(exam)]
    sampling = Sampling(
        temperature=budget.temperature, max_new_tokens=budget.max_new_tokens, seed=rng.randrange(1 << 31)
    )
    written = write(players.engine, prompts, group=1, adapter=name, sampling=sampling)
    return _full(players.play([scenario for group in written for _, scenario in group], target))


def _called(seed: str) -> str:
    return f"fresh-{seed.replace('/', '-')}"


def _full(trajectories: Sequence[Trajectory]) -> Rate:
    return rate(t.verdict.label == "full" for t in trajectories if t.verdict and t.verdict.label != "error")
