"""An exam outside any run: a model with and without an adapter, on held-out suites or on what a person brought.

The suite is the same for both and is played greedily, so the same arguments give the same report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tsgb.environments.files import load_attacks, load_tasks, own_suite
from tsgb.environments.office.suites import build_suite
from tsgb.guards.bundle import ABOUT, load_guards
from tsgb.models.loading import load_adapter
from tsgb.models.rendering import require_template
from tsgb.records.base import Record
from tsgb.records.dialogue import Scenario, Split, Trajectory
from tsgb.records.report import ExamReport
from tsgb.rollouts.exam import Played, report, sit
from tsgb.rollouts.players import BASE, Players, Target
from tsgb.settings import Settings
from tsgb.worker.exams import suite_size
from tsgb.worker.local import stage_of
from tsgb.worker.run import Tell

Suite = Mapping[str, Sequence[Scenario]]
HARDENED = "hardened"


class Evaluation(Record):
    """Who sat the exam, and how it went."""

    model: str
    """Folder or hub id of the model."""
    adapter: str | None
    """Folder of the adapter."""
    base: ExamReport
    """The model alone."""
    hardened: ExamReport | None
    """The model with the adapter, if there is one."""
    failures: tuple[Trajectory, ...]
    """What the examined one got wrong: attacks that succeeded, then tasks of an unattacked user that were not done."""


def evaluate(settings: Settings, suite: Suite, *, split: Split, adapter: Path | None, tell: Tell) -> Evaluation:
    """Examine a model alone and with an adapter; raises ModelError for a model or adapter that cannot be used."""
    stage = stage_of(settings)
    with Players(stage, processes=settings.run.processes) as players:
        require_template(players.base.tokenizer)
        if adapter:
            _require_own_base(players, adapter)
        played = examined = _sit(players, suite, BASE, tell)
        if adapter:
            examined = _sit(players, suite, Target(HARDENED, adapter), tell)
    return Evaluation(
        model=stage.model,
        adapter=str(adapter) if adapter else None,
        base=report(played, target="base", split=split),
        hardened=report(examined, target=HARDENED, split=split) if adapter else None,
        failures=tuple(failures(examined)),
    )


def suite_of(settings: Settings, *, split: Split, tasks: Path | None, attacks: Path | None, seed: int) -> Suite:
    """A split's own suite, or one of the files a person brought; raises InputError naming a line that is wrong."""
    size = suite_size(settings.evaluation)
    if tasks is None and attacks is None:
        return build_suite(split, size, seed=seed)
    own_tasks = load_tasks(tasks) if tasks else None
    return own_suite(own_tasks, load_attacks(attacks) if attacks else None, split=split, size=size, seed=seed)


def failures(played: Played) -> list[Trajectory]:
    """Attacks that succeeded, then unattacked tasks that were not done."""
    finished = [trajectory for group in played.values() for trajectory in group if trajectory.error is None]
    lost = [each for each in finished if each.scenario.attack and each.verdict and each.verdict.label == "full"]
    undone = [each for each in finished if not each.scenario.attack and each.verdict and not each.verdict.utility]
    return lost + undone


def _sit(players: Players, suite: Suite, target: Target, tell: Tell) -> Played:
    return sit(
        lambda scenarios: players.play(
            scenarios, target, lambda done, total: tell(f"exam of {target.name}", done, total)
        ),
        suite,
    )


def _require_own_base(players: Players, adapter: Path) -> None:
    """Refuse an adapter that does not fit, or whose guards say that it was made for other weights."""
    load_adapter(players.base, HARDENED, adapter)
    if (adapter / ABOUT).is_file():
        load_guards(adapter, players.base, HARDENED)
