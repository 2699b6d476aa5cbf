"""A round, readable aloud: plan, rollout, attack, sets, train, guards, gates. And a run: its rounds, then the final
exam.

A stage is done when its record is in storage. To go on after an interruption is to walk the same list and do what is
missing; inside a stage the same holds for its parts and commits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tsgb.worker import collect, exams, harden
from tsgb.worker.run import Run

Stage = Callable[[Run, int], dict[str, Any]]
STAGES: tuple[tuple[str, Stage], ...] = (
    ("plan", collect.plan),
    ("rollout", collect.rollout),
    ("attack", collect.attack),
    ("sets", collect.sets),
    ("train", harden.train),
    ("guards", harden.guards),
    ("gates", exams.gates),
)


def run_rounds(run: Run) -> dict[str, Any]:
    """Every round of the run, then the final exam; returns the final exam's record."""
    rounds = run.settings.run.rounds
    for n in range(rounds):
        run_round(run, n)
    return _once(run, rounds, "exam", exams.final_exam)


def run_round(run: Run, n: int) -> dict[str, Any]:
    """One round; stages that are done are skipped. Returns the gates' record."""
    outputs: dict[str, Any] = {}
    for name, stage in STAGES:
        outputs = _once(run, n, name, stage)
    return outputs


def _once(run: Run, n: int, name: str, stage: Stage) -> dict[str, Any]:
    if run.journal.done(n, name) is None:
        what = f"round {n}, {name}" if n < run.settings.run.rounds else "final exam"
        run.tell(what, 0, 1)
        run.journal.finish(n, name, stage(run, n))
        run.tell(what, 1, 1)
    return run.outputs(n, name)
