"""Trainings on many processes are killed at every step, and end with the bits of one that was not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tsgb.records.training import Example
from tsgb.surrogate import shipped
from tsgb.training.plan import TrainingPlan
from tsgb.training.rehearsal import ALL, Death, Job, Leg, rehearse
from tsgb.training.zero import Stage

STEPS = 3
MOMENTS = ("before", "after", "saving")


def example(number: int, kind: str) -> Example:
    """Tokens that mean nothing, of a length of their own."""
    ids = tuple((7 * number + 3 * place) % 90 for place in range(8 + number))
    mask = tuple(place > 4 for place in range(len(ids)))
    return Example(id=f"{kind}-{number}", kind=kind, stratum=kind, ids=ids, mask=mask)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def job() -> Job:
    """A training of the shipped base, with dropout, on four virtual ranks."""
    examples = tuple(example(number, kind) for kind in ("breaker", "retain") for number in range(4))
    plan = TrainingPlan(
        steps=STEPS,
        breaker_batch=3,
        retain_batch=3,
        twin_batch=0,
        layers=(1,),
        retain_layers=(1,),
        adapter_layers=(0,),
        rank=2,
        parts=4,
    )
    return Job(shipped(), examples, plan, Path(), dropout=0.1)


@pytest.fixture(scope="module")
def straight(job: Job, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the training ends if nothing happens."""
    return rehearse(replace(job, folder=tmp_path_factory.mktemp("straight")), [Leg(1, 1, STEPS)])


@pytest.fixture
def own(job: Job, tmp_path: Path) -> Job:
    """The same in a folder of the test's own."""
    return replace(job, folder=tmp_path)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_training_killed_at_every_step_ends_with_the_same_bits(own: Job, straight: str, stage: Stage) -> None:
    deaths = [Death(rank, step, MOMENTS[step % 3]) for step, rank in enumerate((ALL, 0, 1), 1)]
    legs = [Leg(2, stage, STEPS, death=death) for death in deaths]
    assert rehearse(own, [*legs, Leg(2, stage, STEPS)]) == straight


def test_a_training_killed_in_worlds_of_all_sizes_ends_with_the_same_bits(own: Job, straight: str) -> None:
    legs = [Leg(2, 1, STEPS, death=Death(0, 2, "before")), Leg(4, 3, STEPS, death=Death(3, 3, "after"))]
    assert rehearse(own, [*legs, Leg(3, 2, STEPS)]) == straight


def test_the_bits_would_tell_if_the_seed_were_another(own: Job, straight: str) -> None:
    assert rehearse(replace(own, seed=1), [Leg(1, 1, STEPS)]) != straight
