"""The first half of a round: attackers against the current defender, and what is learnt from their attempts.

| stage | does |
|---|---|
| plan | names who defends and who attacks, from the rounds accepted so far |
| rollout | known attacks and earlier rounds' winners against the defender; once, the frozen model's own good work |
| attack | mutation on two surfaces, then GRPO iterations of the attacker's policy, each a stored part |
| sets | the frozen model plays every scenario without its attack, and every wrapper around other requests; the sets |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from tsgb.environments.office import attacks
from tsgb.environments.office.pieces import Genome
from tsgb.environments.office.tasks import READING, draw_task
from tsgb.environments.registry import environment
from tsgb.records.dialogue import Scenario, Surface, Trajectory
from tsgb.rollouts.mutation import attacked
from tsgb.rollouts.players import BASE, Target
from tsgb.rollouts.reward import success_rate
from tsgb.worker.policy import learn
from tsgb.worker.run import Run
from tsgb.worker.search import Budget, clean_contexts, mutation_search, static_attacks
from tsgb.worker.sets import Clean, choices_of, crossed, crossed_wrappers, make_sets, well_done

MUTATED: tuple[Surface, ...] = ("injection", "jailbreak")


def plan(run: Run, n: int) -> dict[str, Any]:
    """Who defends: the newest accepted bundle. Who attacks: the policy as the last round left it."""
    attacker = run.outputs(n - 1, "attack")["commit"] if n else None
    return {"defender": run.accepted_bundle(n), "attacker": attacker, "split": "train", "seed": run.settings.run.seed}


def rollout(run: Run, n: int) -> dict[str, Any]:
    """Known attacks against the current defender; in the first round also ordinary work by the frozen model."""
    target = run.target(run.outputs(n, "plan")["defender"])
    count = budget_of(run).static
    replayed = replays(archive(run, n), count // 3, seed=run.seed(n, "archive"))
    known = [*static_attacks("train", count - len(replayed), seed=run.seed(n, "static")), *replayed]
    played = run.shard(n, "rollout", 0, lambda: run.play("known attacks", known, target))
    ordinary = ordinary_work(run.settings.rollout.ordinary, seed=run.seed(0, "ordinary"))
    run.shard(n, "rollout", 1, lambda: run.play("ordinary work", ordinary) if n == 0 else [])
    return {"shards": 2, "attacks": _counted(played)}


def attack(run: Run, n: int) -> dict[str, Any]:
    """Attackers learn on the current defender; every attempt is kept."""
    target = run.target(run.outputs(n, "plan")["defender"])
    counts = {
        f"mutation_{surface}": _counted(_mutate(run, n, number, surface, target))
        for number, surface in enumerate(MUTATED)
    }
    played, commit = learn(run, n, len(MUTATED), target, budget_of(run).search)
    return {
        "shards": len(MUTATED) + len(played),
        "attacks": counts,
        "policy": [_counted([t for t in each if t.target == target.name]) for each in played],
        "commit": commit,
    }


def sets(run: Run, n: int) -> dict[str, Any]:
    """The examples of this round: all attempts so far, beside what the frozen model does when nobody attacks."""
    benign = run.shard(0, "rollout", 1, list)
    attempts, honest = list[Trajectory](), well_done(benign)
    for r in range(n + 1):
        tried = attempts_of(run, r)
        honest = {**honest, **well_done(_honest_plays(run, r, tried))}
        attempts += [*tried, *_crossed_plays(run, r, tried, honest)]
    crossings = crossed(attempts, honest, each=run.settings.breaker.crossings, seed=run.seed(n, "crossed"))
    tokenizer, tools = run.players.base.tokenizer, environment("office").tools
    choices = choices_of(run.settings.breaker)
    examples = make_sets(tokenizer, tools, attempts, honest, benign, crossings=crossings, choices=choices)
    return {"shards": 2, "examples": run.keep_examples(examples), "strata": dict(Counter(e.stratum for e in examples))}


def _honest_plays(run: Run, r: int, tried: Sequence[Trajectory]) -> list[Trajectory]:
    """What the frozen model does in the scenarios of a round without their attacks."""
    return run.shard(r, "sets", 0, lambda: run.play("honest twins", clean_contexts(tried)))


def _crossed_plays(run: Run, r: int, tried: Sequence[Trajectory], honest: Clean) -> list[Trajectory]:
    """What the frozen model does when the wrappers of a round stand around other requests."""
    each, seed = run.settings.breaker.crossings, run.seed(r, "wrappers")
    return run.shard(
        r, "sets", 1, lambda: run.play("crossed wrappers", crossed_wrappers(tried, honest, each=each, seed=seed))
    )


def attempts_of(run: Run, n: int) -> list[Trajectory]:
    """Every attack played in a round, in a fixed order."""
    return [*run.shard(n, "rollout", 0, list), *run.shards(n, "attack")]


def archive(run: Run, n: int) -> list[Genome]:
    """The forms that won in the rounds before: those that broke a hardened defender first, then the most successful."""
    tried = [(t, attacks.form_of(t.scenario)) for r in range(n) for t in run.shards(r, "attack")]
    won = [(t, form) for t, form in tried if form and t.verdict and t.verdict.label == "full"]
    wins = Counter(_genome(t, form) for t, form in won)
    broke = Counter(_genome(t, form) for t, form in won if t.target != BASE.name)
    return sorted(wins, key=lambda genome: (-broke[genome], -wins[genome]))


def _genome(won: Trajectory, form: str) -> Genome:
    assert won.scenario.attack is not None
    return Genome(won.scenario.attack.surface, "", form, "")


def replays(forms: Sequence[Genome], count: int, *, seed: str) -> list[Scenario]:
    """Fresh scenarios attacked in forms of the archive: surface by surface in turn, and the forms of each in order."""
    rng = Random(f"archive/{seed}")
    surfaces = [those for surface in MUTATED if (those := [form for form in forms if form.surface == surface])]
    turns = [surfaces[index % len(surfaces)] for index in range(count)] if surfaces else []
    drawn = [those[index // len(surfaces) % len(those)] for index, those in enumerate(turns)]
    return [attacked(form, "train", rng.randrange(1 << 40), "archive") for form in drawn]


def ordinary_work(count: int, *, seed: str) -> list[Scenario]:
    """Unattacked scenarios of every kind: nearly half reading tasks, the rest what over-defence would break first."""
    rng = Random(f"ordinary/{seed}")
    draws = [draw for draw, share in _ORDINARY for _ in range(share)]
    return [draws[index % len(draws)](rng, rng.randrange(1 << 40)) for index in range(count)]


def _wrapped(rng: Random, seed: int) -> Scenario:
    phrases = (*attacks.CORPUS_WRAPPERS, *sorted(attacks.JAILBREAKS["train"].values()))
    return attacks.draw_wrapped("train", seed, phrase=rng.choice(phrases))


def _kinds(*kinds: str) -> Callable[[Random, int], Scenario]:
    return lambda rng, seed: draw_task(rng.choice(kinds), "train", seed)


_ORDINARY: tuple[tuple[Callable[[Random, int], Scenario], int], ...] = (
    (_kinds(*READING), 9),
    (_kinds("delegate"), 3),
    (_kinds("quote"), 1),
    (_kinds("direct"), 2),
    (_wrapped, 2),
    (_kinds("borderline"), 1),
    (lambda rng, seed: attacks.draw_harm("train", seed), 2),
)


class Shares:
    """How the episodes of a round are dealt out to attackers."""

    def __init__(self, episodes: int, run: Run) -> None:
        attacker, group = run.settings.attacker, run.settings.rollout.group_size
        rounds, steps = max(1, attacker.mutation_rounds), max(1, attacker.iterations)
        self.static = max(6, 2 * episodes // 9)
        self.search = Budget(
            generations=attacker.mutation_rounds,
            population=max(4, 2 * episodes // 9 // (rounds * 4)),
            tries=4,
            iterations=attacker.iterations,
            groups=max(1, 4 * episodes // 9 // (steps * group)),
            group_size=group,
            temperature=attacker.temperature,
            max_new_tokens=run.settings.rollout.max_new_tokens,
        )


def budget_of(run: Run) -> Shares:
    """Of nine episodes known attacks get two, mutation three (one of them jailbreaks), the policy four."""
    return Shares(run.settings.rollout.episodes, run)


def _mutate(run: Run, n: int, number: int, surface: Surface, target: Target) -> list[Trajectory]:
    def search() -> list[Trajectory]:
        seed = run.seed(n, f"mutation-{surface}")
        budget, forms = budget_of(run).search, [form for form in archive(run, n) if form.surface == surface]
        elites = (*forms[: budget.population // 8], *_elites(surface))
        history = mutation_search(run.players, target, surface, budget, seed=seed, elites=elites)
        return [t for generation in history for tried in generation.trajectories for t in tried]

    return run.shard(n, "attack", number, search)


def _elites(surface: Surface) -> tuple[Genome, ...]:
    """The known frames of a surface, plain: where every search starts from."""
    known = attacks.JAILBREAKS if surface == "jailbreak" else attacks.INJECTIONS
    return tuple(Genome(surface, "", phrase, "") for _, phrase in sorted(known["train"].items()))


def _counted(trajectories: Sequence[Trajectory]) -> list[int]:
    return list(success_rate(trajectories))
