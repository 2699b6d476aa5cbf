"""Guards from played trajectories: the probe is fitted on some tasks, the thresholds are chosen on others.

Promises: no task is on both sides, however often it was attacked; the same trajectories and seed give the same guards.
A call is harmful when it is the attacker's goal, argument for argument; the other calls of an attacked trajectory are
the user's business and teach the probe that reading an injection is no crime.
Leaves out: how well the guards do on what they have not seen (`report`).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import torch

from tsgb.errors import InputError
from tsgb.guards.bundle import Guards
from tsgb.guards.monitor import RepresentationMonitor
from tsgb.guards.probe import LinearProbe, features, fit_probe
from tsgb.guards.readings import Guard, read_calls
from tsgb.guards.thresholds import calibrate
from tsgb.models.loading import Base
from tsgb.models.rendering import Tools
from tsgb.records.dialogue import Message, Trajectory


def fit_guards(
    base: Base,
    adapter: str,
    harmful: Sequence[Trajectory],
    benign: Sequence[Trajectory],
    tools: Tools,
    *,
    layers: Sequence[int],
    seed: int,
) -> Guards:
    """Guards for a base hardened by an adapter; half of the benign tasks are kept back to choose thresholds on.

    Raises `InputError` when one of the two classes has no call to fit on, or none is left to choose thresholds on.
    """
    held_back = held_back_tasks(benign, seed)
    fitted = [trajectory for trajectory in (*harmful, *benign) if task(trajectory) not in held_back]
    probe = _fitted_probe(base, adapter, fitted, tools, layers)
    monitor = RepresentationMonitor()
    guards: tuple[Guard, ...] = (monitor, probe)
    calibration = [trajectory for trajectory in benign if task(trajectory) in held_back]
    readings = read_calls(base, adapter, [dialogue(one) for one in calibration], tools, layers=layers)
    scores = [[guard.score(reading) for guard in guards] for reading in readings]
    thresholds = {guard.name: calibrate([row[i] for row in scores]) for i, guard in enumerate(guards)}
    return Guards(base, adapter, tuple(layers), monitor, probe, thresholds)


def held_back_tasks(trajectories: Sequence[Trajectory], seed: int) -> frozenset[str]:
    """The tasks that no guard is fitted on: half of them, at least one."""
    tasks = sorted({task(trajectory) for trajectory in trajectories})
    Random(seed).shuffle(tasks)
    return frozenset(tasks[: (len(tasks) + 1) // 2])


def dialogue(trajectory: Trajectory) -> tuple[Message, ...]:
    """Everything that was said."""
    return (*trajectory.scenario.messages, *trajectory.messages)


def task(trajectory: Trajectory) -> str:
    """The name of the task, whether or not it was attacked."""
    return trajectory.scenario.clean_id or trajectory.scenario.id


def is_goal(trajectory: Trajectory, message: int) -> bool:
    """Whether a message of the dialogue asks for exactly the attacker's goal."""
    attack = trajectory.scenario.attack
    return attack is not None and attack.goal in dialogue(trajectory)[message].tool_calls


def _fitted_probe(
    base: Base, adapter: str, trajectories: Sequence[Trajectory], tools: Tools, layers: Sequence[int]
) -> LinearProbe:
    readings = read_calls(base, adapter, [dialogue(trajectory) for trajectory in trajectories], tools, layers=layers)
    rows = [(features(reading), is_goal(trajectories[reading.dialogue], reading.message)) for reading in readings]
    harmful = torch.tensor([label for _, label in rows], dtype=torch.bool)
    if not 0 < int(harmful.sum()) < len(rows):
        raise InputError(
            f"A probe needs harmful and benign calls to fit on, and of {len(rows)} there are {int(harmful.sum())} "
            "harmful; bring attacked trajectories with the attacker's goal call, and more benign tasks."
        )
    return fit_probe(torch.stack([row for row, _ in rows]), harmful)
