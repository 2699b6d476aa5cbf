"""A training that is killed on purpose and goes on, on this machine alone: what tests and benchmarks of worlds share.

    end = rehearse(job, [Leg(size=2, stage=1, until=3, death=Death(1, 2, "saving")), Leg(size=3, stage=2, until=6)])

Promises: every leg is a world of fresh processes that know of the last one only what is in the job's folder; a death is
a real SIGKILL, of one rank or of all, after which the rest of the world is killed too. A state is there with its last
file: it is written under another name and renamed.
Leaves out: stores; real runs publish (`checkpoints`).
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tsgb.models.loading import load_base
from tsgb.records.training import Example
from tsgb.training.plan import TrainingPlan
from tsgb.training.state import state_digest
from tsgb.training.virtual import ElasticDefender
from tsgb.training.world import Ranks, World
from tsgb.training.zero import Stage, Zero

Moment = Literal["before", "after", "saving"]
ALL = -1
"""Stands for every rank at once."""


@dataclass(frozen=True)
class Job:
    """What is trained, and where its states go."""

    model: Path
    examples: tuple[Example, ...]
    plan: TrainingPlan
    folder: Path
    dropout: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Death:
    """Who is killed, at which step (from 1), and when: before it, after it, or while its state is written."""

    rank: int
    step: int
    moment: Moment


@dataclass(frozen=True)
class Leg:
    """One world: how many processes, how they share, and how far they get."""

    size: int
    stage: Stage
    until: int
    """Finished steps at which it stops by itself."""
    exact: bool = True
    bf16: bool = False
    death: Death | None = None


def rehearse(job: Job, legs: Iterable[Leg]) -> str:
    """Run a job's legs one after the other; the digest of the newest state."""
    for leg in legs:
        with Ranks(leg.size, train_leg, job, leg) as ranks:
            codes = ranks.wait()
        if any(codes) != bool(leg.death):
            raise RuntimeError(f"{leg} ended with {codes}")
    return state_digest(newest(job.folder)[1])


def newest(folder: Path) -> tuple[int, Path]:
    """The newest whole state: its step and folder; step 0 where there is none."""
    steps = [int(path.name.removeprefix("step-")) for path in folder.glob("step-*")]
    return max(steps, default=0), folder / f"step-{max(steps, default=0)}"


def train_leg(world: World, job: Job, leg: Leg) -> None:
    """What every rank of a leg does."""
    base = load_base(job.model)
    zero = Zero(leg.stage, leg.exact, leg.bf16)
    with ElasticDefender(
        base, job.examples, job.plan, world=world, zero=zero, dropout=job.dropout, seed=job.seed
    ) as defender:
        done, folder = newest(job.folder)
        if done:
            defender.restore(folder)
        for step in range(done + 1, leg.until + 1):
            _perhaps_die(world, leg, step, "before")
            defender.step()
            _perhaps_die(world, leg, step, "after")
            _save(defender, world, leg, job.folder, step)


def _save(defender: ElasticDefender, world: World, leg: Leg, folder: Path, step: int) -> None:
    part = folder / f"part-{step}"
    if world.rank == 0:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
    defender.save(part)
    _perhaps_die(world, leg, step, "saving")
    if world.rank == 0:
        part.rename(folder / f"step-{step}")


def _perhaps_die(world: World, leg: Leg, step: int, moment: Moment) -> None:
    death = leg.death
    if death and (death.step, death.moment) == (step, moment) and death.rank in (world.rank, ALL):
        os.kill(os.getpid(), signal.SIGKILL)
