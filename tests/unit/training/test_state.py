"""A stored state is whole, says what it is, and holds nothing that could be left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tsgb.errors import InputError
from tsgb.models.loading import Base, add_adapter
from tsgb.records.training import RoleState
from tsgb.training.optimizer import AdapterOptimizer, OptimizerState
from tsgb.training.state import load_state, save_state, state_digest

NAME = "guard"
Optimizer = Callable[[], AdapterOptimizer]


@pytest.fixture
def fresh(base: Base) -> Optimizer:
    def made() -> AdapterOptimizer:
        add_adapter(base, NAME, rank=4, alpha=8, layers=(0, 1), init_std=0.02)
        return AdapterOptimizer(base, NAME, betas=(0.9, 0.99), clip=1.0, seed=7)

    return made


def train(optimizer: AdapterOptimizer, until: int) -> OptimizerState:
    """Steps whose gradients depend on the step; every third sets the learning rate."""
    while optimizer.steps < until:
        generator = torch.Generator().manual_seed(optimizer.steps)
        gradient = torch.randn(optimizer.vector.shape, generator=generator)
        optimizer.step(gradient, None if optimizer.steps % 3 else 1e-2 / (1 + optimizer.steps))
    return optimizer.state()


@pytest.fixture
def saved(fresh: Optimizer, tmp_path: Path) -> Path:
    save_state(train(fresh(), 5), tmp_path, name=NAME, digest="d")
    return tmp_path


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / "trainer_state.json").read_text())
    change(content)
    (folder / "trainer_state.json").write_text(json.dumps(content))


def test_a_state_comes_back_and_goes_on_to_the_same_bits(fresh: Optimizer, saved: Path) -> None:
    straight = train(fresh(), 8)
    resumed = fresh()
    resumed.load(load_state(saved, name=NAME, digest="d"))
    assert state_digest(train(resumed, 8)) == state_digest(straight)


def test_equal_states_make_equal_bytes(fresh: Optimizer, tmp_path: Path) -> None:
    contents = []
    for number in range(8):
        folder = tmp_path / str(number)
        folder.mkdir()
        save_state(train(fresh(), 2), folder, name=NAME, digest="d")
        contents.append(tuple(file.read_bytes() for file in sorted(folder.iterdir())))
    assert len(set(contents)) == 1


FIELDS = [("digest",), ("steps",), ("adam_steps",), ("learning_rates",), ("rng",), ("rng", "seed"), ("rng", "scheme")]
FIELDS += [("tensors",)]


@pytest.mark.parametrize("field", FIELDS, ids=".".join)
def test_a_field_that_is_missing_is_refused(saved: Path, field: tuple[str, ...]) -> None:
    def drop(content: dict[str, Any]) -> None:
        place = content["roles"][NAME]
        for key in field[:-1]:
            place = place[key]
        del place[field[-1]]

    edit(saved, drop)
    with pytest.raises(InputError, match="no whole training state"):
        load_state(saved, name=NAME, digest="d")


CHANGES = {
    "digest": "e",
    "steps": 6,
    "adam_steps": 4,
    "learning_rates": [0.5],
    "rng": {"seed": 8, "scheme": "blake3-splitmix64-1"},
    "tensors": "0" * 64,
}


@pytest.mark.parametrize("field", RoleState.model_fields)
def test_a_field_with_another_value_is_refused_or_ends_with_other_bits(
    fresh: Optimizer, saved: Path, field: str
) -> None:
    straight = state_digest(train(fresh(), 8))
    edit(saved, lambda content: content["roles"][NAME].update({field: CHANGES[field]}))
    try:
        state = load_state(saved, name=NAME, digest="d")
    except InputError:
        assert field in ("digest", "tensors")
        return
    resumed = fresh()
    resumed.load(state)
    assert state_digest(train(resumed, 8)) != straight


@pytest.mark.parametrize("field", [field.name for field in fields(OptimizerState)])
def test_every_part_of_a_state_is_in_its_digest(fresh: Optimizer, field: str) -> None:
    state = train(fresh(), 2)
    value = getattr(state, field)
    changed = {key: tensor + 1 for key, tensor in value.items()} if isinstance(value, dict) else value + 1
    assert state_digest(replace(state, **{field: changed})) != state_digest(state)


def test_a_digest_does_not_depend_on_the_order_of_names(fresh: Optimizer) -> None:
    state = train(fresh(), 2)
    assert state_digest(replace(state, adapter=dict(reversed(state.adapter.items())))) == state_digest(state)


def test_one_flipped_bit_is_found(saved: Path) -> None:
    for name in (f"{NAME}.safetensors", f"optim_{NAME}.safetensors"):
        data = bytearray((saved / name).read_bytes())
        data[-1] ^= 1
        (saved / name).write_bytes(data)
        with pytest.raises(InputError, match="its tensors are not those"):
            load_state(saved, name=NAME, digest="d")
        data[-1] ^= 1
        (saved / name).write_bytes(data)
    assert load_state(saved, name=NAME, digest="d").steps == 5


def test_files_of_two_steps_are_not_mixed(fresh: Optimizer, saved: Path, tmp_path: Path) -> None:
    later = tmp_path / "later"
    later.mkdir()
    save_state(train(fresh(), 6), later, name=NAME, digest="d")
    (later / f"{NAME}.safetensors").replace(saved / f"{NAME}.safetensors")
    with pytest.raises(InputError, match="its tensors are not those"):
        load_state(saved, name=NAME, digest="d")


def test_a_folder_holds_both_roles(fresh: Optimizer, tmp_path: Path) -> None:
    states = {"guard": train(fresh(), 2), "attacker": train(fresh(), 3)}
    for name, state in states.items():
        save_state(state, tmp_path, name=name, digest=name)
    files = ["attacker.safetensors", "guard.safetensors", "optim_attacker.safetensors", "optim_guard.safetensors"]
    assert sorted(file.name for file in tmp_path.iterdir()) == [*files, "trainer_state.json"]
    both = state_digest(tmp_path)
    for name, state in states.items():
        assert state_digest(load_state(tmp_path, name=name, digest=name)) == state_digest(state)
    save_state(states["attacker"], tmp_path, name="guard", digest="guard")
    assert state_digest(tmp_path) != both
    save_state(states["guard"], tmp_path, name="guard", digest="guard")
    assert state_digest(tmp_path) == both
    with pytest.raises(InputError, match=r"is of \['attacker', 'guard'\], not of 'judge'"):
        load_state(tmp_path, name="judge", digest="d")


def test_files_say_what_they_are_without_their_neighbours(saved: Path) -> None:
    about = json.loads((saved / "trainer_state.json").read_text())["roles"][NAME]
    for name in (f"{NAME}.safetensors", f"optim_{NAME}.safetensors"):
        with safe_open(saved / name, "pt") as file:
            header = json.loads(file.metadata()["tsgb"])
            assert list(file.keys()) == sorted(file.keys())
            assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float32}  # noqa: SIM118
        assert header == {"schema": 1, "step": 5, "digest": about["tensors"]}


def test_the_digest_is_that_of_the_tensors_not_of_the_file(saved: Path) -> None:
    before = state_digest(saved)
    save_file(load_file(saved / f"{NAME}.safetensors"), saved / f"{NAME}.safetensors", metadata={"other": "header"})
    assert state_digest(saved) == before


SCHEMAS = [(2, "has schema 2, this program reads up to 1; install the newer tsgb"), (0, "schema: Input should be 1")]


@pytest.mark.parametrize(("schema", "said"), SCHEMAS)
def test_another_schema_is_refused_with_a_cure(saved: Path, schema: int, said: str) -> None:
    edit(saved, lambda content: content.update({"schema": schema}))
    with pytest.raises(InputError, match=said):
        load_state(saved, name=NAME, digest="d")


def test_another_way_to_make_random_numbers_is_refused(saved: Path) -> None:
    edit(saved, lambda content: content["roles"][NAME]["rng"].update({"scheme": "dice"}))
    with pytest.raises(InputError, match="rng scheme 'dice' but this training has"):
        load_state(saved, name=NAME, digest="d")
