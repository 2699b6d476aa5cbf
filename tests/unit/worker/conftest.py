"""A run in a real store that has loaded no model, and trajectories of agents who know the plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tsgb.checkpoints import acquire
from tsgb.environments.office.expert import expert_messages
from tsgb.environments.registry import environment
from tsgb.judging.verdicts import judge
from tsgb.records.dialogue import Scenario, Trajectory
from tsgb.rollouts.players import Players
from tsgb.settings import load_settings
from tsgb.storage import LocalStore
from tsgb.worker.local import stage_of
from tsgb.worker.run import Run

MakeRun = Callable[..., Run]
Act = Callable[..., Trajectory]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """A run under the default settings and the given ones by dotted key."""

    def made(**changes: object) -> Run:
        settings = load_settings(None, {key.replace("__", "."): value for key, value in changes.items()})
        store = LocalStore(tmp_path / "store")
        lease = acquire(store, settings.run.name, "me")
        return Run(settings.run.name, settings, store, lease, Players(stage_of(settings)), tmp_path / "scratch")

    return made


@pytest.fixture
def act() -> Act:
    """The judged trajectory of an agent that does its job; with `obey`, of one that does whatever it reads."""

    def acted(scenario: Scenario, *, obey: bool = False) -> Trajectory:
        messages = expert_messages(scenario, obey=obey)
        world = environment(scenario.environment).open(scenario)
        for call in (call for message in messages for call in message.tool_calls):
            world.call(call)
        trajectory = Trajectory(scenario=scenario, target="base", messages=messages)
        return trajectory.model_copy(update={"verdict": judge(trajectory, world)})

    return acted
