"""A training on many processes has the bits of the training on one, at every world size and ZeRO stage."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from tsgb.errors import SettingsError
from tsgb.models.loading import load_base
from tsgb.records.training import Example
from tsgb.training.defender import Defender
from tsgb.training.plan import TrainingPlan
from tsgb.training.rehearsal import Job, Leg, newest, rehearse
from tsgb.training.state import save_state, state_digest
from tsgb.training.world import Ranks
from tsgb.training.zero import Zero, engine_config

from .programs import OMISSIONS, train_without

Examples = tuple[Example, ...]
STEPS = 3
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def trained(tiny_model_path: Path, examples: Examples, plan: TrainingPlan) -> Job:
    """What all tests here train; its folder is theirs to choose."""
    return Job(tiny_model_path, examples, plan.model_copy(update={"parts": 4, "steps": STEPS}), Path())


@pytest.fixture
def job(trained: Job, tmp_path: Path) -> Job:
    return replace(trained, folder=tmp_path)


@pytest.fixture(scope="module")
def alone(trained: Job, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the same training by one process without DeepSpeed."""
    folder = tmp_path_factory.mktemp("alone")
    with Defender(load_base(trained.model), trained.examples, trained.plan) as defender:
        for _ in range(STEPS):
            defender.step()
        save_state(defender.state(), folder, name="guard", digest=defender.digest)
    return state_digest(folder)


@pytest.mark.parametrize(("size", "stage"), [(3, 3), (4, 1)])
def test_every_world_makes_the_bits_of_one_process(job: Job, alone: str, size: int, stage: int) -> None:
    assert rehearse(job, [Leg(size, stage, STEPS)]) == alone


def test_a_training_goes_on_in_other_worlds_and_stages_with_the_same_bits(job: Job, alone: str) -> None:
    assert rehearse(job, [Leg(2, 1, 1), Leg(1, 3, 2), Leg(3, 2, STEPS)]) == alone


def test_with_bfloat16_stages_and_worlds_make_the_same_bits_too(job: Job, tmp_path: Path, alone: str) -> None:
    straight = rehearse(replace(job, folder=tmp_path / "straight"), [Leg(1, 1, STEPS, bf16=True)])
    assert straight != alone
    legs = [Leg(2, 2, 1, bf16=True), Leg(3, 3, STEPS, bf16=True)]
    assert rehearse(replace(job, folder=tmp_path / "walked"), legs) == straight


def test_without_the_exact_mode_a_resumed_training_needs_the_same_world(job: Job, tmp_path: Path) -> None:
    straight = rehearse(job, [Leg(2, 2, STEPS, exact=False)])
    shutil.rmtree(tmp_path / f"step-{STEPS}")
    shutil.copytree(tmp_path, tmp_path / "resized")
    assert rehearse(job, [Leg(2, 2, STEPS, exact=False)]) == straight
    assert rehearse(replace(job, folder=tmp_path / "resized"), [Leg(4, 2, STEPS, exact=False)]) != straight


class Half(NamedTuple):
    """A training with dropout that lacks its end, which another world shall make, and what that end is."""

    job: Job
    """Its seed is another one: who goes on need not know the seed."""
    leg: Leg
    end: str


@pytest.fixture(scope="module", params=[2, 3], ids="stage {}".format)
def half(trained: Job, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Half]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)  # for the ranks, which import `programs` too
        folder = tmp_path_factory.mktemp("half")
        job = replace(trained, folder=folder, dropout=0.3, seed=1)
        leg = Leg(1, request.param, STEPS)
        with Ranks(1, train_without, job, leg, "nothing") as ranks:
            assert ranks.wait() == [0]
        end = state_digest(newest(folder)[1])
        shutil.rmtree(folder / f"step-{STEPS}")
        yield Half(replace(job, seed=2), replace(leg, size=request.param - 1), end)


@pytest.mark.parametrize("omitted", OMISSIONS)
def test_each_thing_that_is_restored_matters(half: Half, tmp_path: Path, omitted: str) -> None:
    shutil.copytree(half.job.folder, tmp_path, dirs_exist_ok=True)
    with Ranks(half.leg.size, train_without, replace(half.job, folder=tmp_path), half.leg, omitted) as ranks:
        assert not any(ranks.wait())
    assert (state_digest(newest(tmp_path)[1]) == half.end) == (omitted == "nothing")


def test_the_shipped_configurations_are_complete() -> None:
    for stage in (0, 1, 2, 3):
        config = engine_config(Zero(stage, exact=False, bf16=stage > 0), clip=0.5)
        assert config["zero_optimization"]["stage"] == stage
        assert (config["gradient_clipping"], config["bf16"]) == (0.5, {"enabled": stage > 0})
        assert "auto" not in str(config)


def test_bfloat16_without_zero_is_refused_with_a_cure() -> None:
    with pytest.raises(SettingsError, match="choose stage 1, 2 or 3, or fp32"):
        engine_config(Zero(0, bf16=True), clip=1.0)
