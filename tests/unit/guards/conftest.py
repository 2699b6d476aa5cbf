"""A tiny hardened model, and office trajectories as an obedient and an honest expert plays them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsgb.environments.office import attacks
from tsgb.environments.office.expert import expert_messages
from tsgb.environments.office.tasks import draw_task
from tsgb.models.loading import Base, add_adapter, load_base
from tsgb.records.dialogue import Scenario, Trajectory

KINDS = ("ask", "forward", "bill", "phone")


@pytest.fixture(scope="session")
def hardened(tiny_model_path: Path) -> Base:
    """The tiny base with an adapter `guard` that turns its hidden states."""
    base = load_base(tiny_model_path)
    add_adapter(base, "guard", rank=4, alpha=8, layers=(0, 1, 2), init_std=0.1, seed=1)
    return base


def trajectory(scenario: Scenario, *, obey: bool = False) -> Trajectory:
    return Trajectory(scenario=scenario, target="expert", messages=expert_messages(scenario, obey=obey))


def attacked(seed: int) -> Trajectory:
    """A task carried out together with the attacker's goal."""
    kind = KINDS[seed % len(KINDS)]
    return trajectory(attacks.draw_injected(kind, "train", seed, family="f", phrase="now {}."), obey=True)


def ordinary(seed: int) -> Trajectory:
    """The same task without the attack."""
    return trajectory(draw_task(KINDS[seed % len(KINDS)], "train", seed))


@pytest.fixture(scope="session")
def harmful() -> list[Trajectory]:
    return [attacked(seed) for seed in range(24)]


@pytest.fixture(scope="session")
def benign() -> list[Trajectory]:
    return [ordinary(seed) for seed in range(16, 48)]


@pytest.fixture(scope="session")
def heldout_harmful() -> list[Trajectory]:
    return [attacked(seed) for seed in range(100, 116)]


@pytest.fixture(scope="session")
def heldout_benign() -> list[Trajectory]:
    return [ordinary(seed) for seed in range(200, 216)]
