"""The attacker's policy across interruptions: every GRPO iteration is a stored part, and then a commit.

A commit also holds what every update of its round saw (`training.reports`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tsgb.checkpoints import fetch, resume
from tsgb.models.loading import add_adapter, find_blocks
from tsgb.records.dialogue import Trajectory
from tsgb.rollouts.players import Target
from tsgb.training.attacker import Attacker, AttackerPlan, AttackReport
from tsgb.training.reports import load_reports
from tsgb.training.state import load_state
from tsgb.worker.commits import Commits, going_back_once
from tsgb.worker.run import Run
from tsgb.worker.search import Budget, policy_search

NAME = "attacker"


def learn(
    run: Run, n: int, first_shard: int, target: Target, budget: Budget
) -> tuple[list[list[Trajectory]], str | None]:
    """All iterations of a round's policy search with the commit of its last; what is stored already is not repeated.

    The reward is averaged over the defender and the base, so that there is something to learn when the defender holds.
    """
    targets = [target] if target.folder is None else [target, Target()]
    commit = going_back_once(run, n, "attack", lambda: _learn(run, n, first_shard, targets, budget))
    return [run.shard(n, "attack", first_shard + number, list) for number in range(budget.iterations)], commit


def _learn(run: Run, n: int, first_shard: int, targets: Sequence[Target], budget: Budget) -> str | None:
    """All iterations that are left; the commit at which the policy stands after them."""
    attacker = fresh_attacker(run)
    commit = _restore(run, n, attacker)
    done = len(attacker.reports)
    search = policy_search(run.players, targets, attacker, NAME, budget, seed=run.seed(n, "policy"), first=done)
    with Commits(run, n, "attack", budget.iterations) as commits:
        for number, iteration in enumerate(search, done):
            run.shard(n, "attack", first_shard + number, lambda iteration=iteration: iteration.trajectories)  # type: ignore[misc]
            commits.after(number + 1, lambda: attacker.snapshot(run.players.base.digest))
            run.tell("attacker learns", number + 1, budget.iterations)
    return commits.newest.commit if commits.newest else commit


def fresh_attacker(run: Run) -> Attacker:
    """The base's own skill of writing notes, as an adapter that can learn."""
    settings, base = run.settings.attacker, run.players.base
    blocks = range(len(find_blocks(base.model)[1]))
    add_adapter(base, NAME, rank=settings.rank, alpha=2 * settings.rank, layers=blocks, seed=run.settings.run.seed)
    return Attacker(base, NAME, AttackerPlan(learning_rate=settings.learning_rate, clip=1.0))


def _restore(run: Run, n: int, attacker: Attacker) -> str | None:
    """Go on from this round's newest commit with its reports, or else from where the last round left the policy."""
    with TemporaryDirectory() as folder:
        resumed = resume(run.store, run.name, n, "attack", Path(folder)).manifest
        commit = resumed.commit if resumed else run.outputs(n, "plan")["attacker"]
        if commit and not resumed:
            fetch(run.store, run.name, commit, Path(folder))
        if commit:
            attacker.load(load_state(Path(folder), name=NAME, digest=run.players.base.digest))
        if resumed:
            attacker.reports = load_reports(AttackReport, Path(folder), name=NAME, steps=resumed.step)
    return commit
