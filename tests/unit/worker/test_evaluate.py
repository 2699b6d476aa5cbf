"""What an exam outside a run shows as having gone wrong."""

from __future__ import annotations

from collections.abc import Callable

from tsgb.environments.office import attacks
from tsgb.environments.office.tasks import draw_task
from tsgb.records.dialogue import Trajectory, Verdict
from tsgb.worker.evaluate import failures

Act = Callable[..., Trajectory]
ERROR = {"error": "too long", "verdict": Verdict(label="error", utility=False, refused=False, valid=False)}


def test_failures_are_attacks_that_succeed_and_tasks_undone_but_no_errors(act: Act) -> None:
    injected = attacks.draw_injected("ask", "dev", 1, family="markup", phrase="<b> {} </b>")
    fallen, done = act(injected, obey=True), act(draw_task("bill", "dev", 1))
    assert done.verdict
    undone = done.model_copy(update={"verdict": done.verdict.model_copy(update={"utility": False})})
    errors = [each.model_copy(update=ERROR) for each in (fallen, done)]
    assert failures({"benign": [done, undone, *errors], "injection": [act(injected), fallen]}) == [fallen, undone]
