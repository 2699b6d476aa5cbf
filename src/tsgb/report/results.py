"""What a run's exams say: every round's verdict with its reasons, and the final exam of base, defender and guards.

With it comes what its trainings saw step by step.
"""

from __future__ import annotations

from tsgb.checkpoints import Journal
from tsgb.errors import InputError
from tsgb.records.base import Record
from tsgb.records.report import ExamReport, GuardReport, RoundReport
from tsgb.records.run import RunRecord
from tsgb.report.curves import RoundCurves, read_curves
from tsgb.report.progress import EXAM
from tsgb.storage import Store


class FinalReport(Record):
    """The test split, opened once."""

    bundle: str | None
    """The defender that was examined; None: no round was accepted, so it is the base again."""
    base: ExamReport
    """The base on the test split."""
    exam: ExamReport
    """The defender on the test split."""
    guards: GuardReport | None = None
    """How well the defender's guards tell calls apart; None: it has none."""


class RunReport(Record):
    """`report.json`: all that a run's exams say, and how it was trained."""

    run: str
    """Name of the run."""
    seeds: dict[str, int]
    """Seeds by purpose."""
    rounds: tuple[RoundReport, ...]
    """Every round whose gates have decided."""
    final: FinalReport | None
    """The final exam, once it was sat."""
    curves: tuple[RoundCurves, ...] = ()
    """What the trainings of every round saw, step by step."""


def read_results(store: Store, record: RunRecord) -> RunReport:
    """All that a run's exams say so far; raises InputError if there was none yet."""
    journal = Journal(store, record.run)
    rounds = record.settings["run"]["rounds"]
    gates = ((n, journal.done(n, "gates")) for n in range(rounds))
    decided = tuple(RoundReport.model_validate({"round": n} | _fields(RoundReport, gate)) for n, gate in gates if gate)
    if not decided:
        raise InputError(f"Run {record.run!r} has sat no exam yet; tsgb status {record.run} says how far it is.")
    final = journal.done(rounds, EXAM)
    finished = FinalReport(**_fields(FinalReport, final)) if final else None
    curves = read_curves(store, record.run, rounds)
    return RunReport(run=record.run, seeds=record.seeds, rounds=decided, final=finished, curves=curves)


def _fields(kind: type[Record], outputs: dict[str, object]) -> dict[str, object]:
    """What a record wants of a stage's outputs, which may say more."""
    return {name: value for name, value in outputs.items() if name in kind.model_fields}
