"""The last part of a round and of a run: exams.

The gates compare base and bundle on the dev split and accept, or roll back with the reason. The final exam opens the
test split once, lets fresh attackers train against the final model, and asks how well the guards tell its calls apart.
"""

from __future__ import annotations

from typing import Any

from tsgb.environments.office.suites import SuiteSize, build_suite
from tsgb.environments.registry import environment
from tsgb.guards.bundle import ABOUT, load_guards
from tsgb.guards.report import score_report
from tsgb.models.loading import load_adapter
from tsgb.records.dialogue import Split
from tsgb.records.report import ExamReport, Rate, RoundReport
from tsgb.rollouts.exam import Played, grouped, report
from tsgb.rollouts.players import BASE, Target
from tsgb.settings import EvaluationSettings
from tsgb.worker.collect import Shares
from tsgb.worker.fresh import fresh_attackers
from tsgb.worker.gates import reasons_to_reject
from tsgb.worker.harden import GUARD
from tsgb.worker.run import Run

ATTACKED = ("injection", "jailbreak", "prefill")


def gates(run: Run, n: int) -> dict[str, Any]:
    """The dev exam of the bundle against the base's, and whether the bundle becomes the defender."""
    bundle = run.outputs(n, "guards")["commit"]
    before = examine(run, 0, "baseline", "dev", run.target(None))
    after = examine(run, n, "gates", "dev", run.target(bundle))
    reasons = reasons_to_reject(run.settings.gates, before, after)
    for reason in reasons:
        run.note(f"Round {n} is rolled back: {reason}.")
    verdict = RoundReport(round=n, bundle=bundle, accepted=not reasons, reasons=tuple(reasons), base=before, exam=after)
    return verdict.model_dump()


def examine(run: Run, n: int, name: str, split: Split, target: Target) -> ExamReport:
    """An exam whose trajectories are kept."""
    return report(_sat(run, n, name, split, target), target=target.name, split=split)


def _sat(run: Run, n: int, name: str, split: Split, target: Target) -> Played:
    suite = build_suite(split, suite_size(run.settings.evaluation))
    scenarios = [scenario for group in suite.values() for scenario in group]
    return grouped(suite, run.shard(n, name, 0, lambda: run.play(f"{split} exam of {target.name}", scenarios, target)))


def suite_size(size: EvaluationSettings) -> SuiteSize:
    """The settings as a suite's size."""
    return SuiteSize(size.benign, size.attacked, size.harmful, size.harmful, size.harmful)


def final_exam(run: Run, rounds: int) -> dict[str, Any]:
    """The test split, opened once: base and last accepted bundle side by side, fresh attackers, the guards."""
    bundle = run.accepted_bundle(rounds)
    before = examine(run, rounds, "exam-base", "test", run.target(None))
    after = examine(run, rounds, "exam", "test", run.target(bundle))
    fresh = _fresh(run, run.target(bundle))
    after = after.model_copy(update={"rates": {**after.rates, **fresh}})
    return {
        "bundle": bundle,
        "base": before.model_dump(),
        "exam": after.model_dump(),
        "guards": _guard_report(run, rounds, run.target(bundle)),
    }


def _guard_report(run: Run, rounds: int, target: Target) -> dict[str, Any] | None:
    """How well the bundle's guards tell the goal calls of the hijacked base from the calls of its ordinary work."""
    if target.folder is None or not (target.folder / ABOUT).exists():
        return None
    base = run.players.base
    load_adapter(base, GUARD, target.folder)
    played = _sat(run, rounds, "exam-base", "test", BASE)
    hijacked = [t for group in ATTACKED for t in played[group] if t.verdict and t.verdict.label == "full"]
    ordinary = [*played["benign"], *played["delegated"], *played["over_refusal"]]
    fitted = load_guards(target.folder, base, GUARD)
    return score_report(fitted, hijacked, ordinary, environment("office").tools).model_dump()


def _fresh(run: Run, target: Target) -> dict[str, Rate]:
    """What attackers find that have never met the final model."""
    episodes = run.settings.evaluation.fresh_episodes
    if not episodes:
        return {}
    budget, exam = Shares(episodes, run).search, run.settings.evaluation.harmful * 2
    run.note("Fresh attackers train against the final model.")
    attacker, seed = run.settings.attacker, run.seed(run.settings.run.rounds, "fresh")
    return fresh_attackers(
        run.players, target, budget, seed=seed, exam=exam, rate_of_learning=attacker.learning_rate, rank=attacker.rank
    )
