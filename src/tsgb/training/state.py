"""Training state and local files: what a folder holds from which a training goes on to the same bits.

    {name}.safetensors        the adapter in fp32, keys as PEFT saves them
    optim_{name}.safetensors  AdamW's moments: exp_avg/<key>, exp_avg_sq/<key>
    trainer_state.json        schema, name, finished steps, digest of what it belongs to; written last

Random numbers need no saving: they are functions of seed and step. Leaves out: publishing, which is `checkpoints`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tsgb.errors import InputError
from tsgb.models.loading import Base
from tsgb.training.optimizer import OptimizerState
from tsgb.training.vector import AdapterVector

SCHEMA = 1


def save_state(state: OptimizerState, folder: Path, *, name: str, digest: str) -> None:
    """Write a state into an existing folder; the same state always makes the same bytes."""
    moments = {"exp_avg": state.exp_avg, "exp_avg_sq": state.exp_avg_sq}
    optimizer = {f"{moment}/{key}": tensor for moment, tensors in moments.items() for key, tensor in tensors.items()}
    save_file(state.adapter, folder / f"{name}.safetensors")
    save_file(optimizer, folder / f"optim_{name}.safetensors")
    about = {"schema": SCHEMA, "name": name, "steps": state.steps, "digest": digest}
    (folder / "trainer_state.json").write_text(json.dumps(about, indent=1) + "\n")


def load_state(folder: Path, *, name: str, digest: str) -> OptimizerState:
    """Read a state back; raises `InputError` when it is not whole, or belongs to something else than `digest`."""
    try:
        about = json.loads((folder / "trainer_state.json").read_text())
        _check(about, folder, name, digest)
        adapter = load_file(folder / f"{name}.safetensors")
        moments = load_file(folder / f"optim_{name}.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{folder} holds no whole training state ({error}); restore an earlier checkpoint.") from error
    return OptimizerState(about["steps"], adapter, _under(moments, "exp_avg/"), _under(moments, "exp_avg_sq/"))


def load_weights(base: Base, name: str, file: Path) -> None:
    """Give an adapter that the base has the weights of a saved state; raises `InputError` when they are not whole."""
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file} holds no whole adapter ({error}); restore an earlier checkpoint.") from error
    vector = AdapterVector(base, name)
    vector.write(vector.flat(tensors))


def _check(about: Mapping[str, object], folder: Path, name: str, digest: str) -> None:
    expected: dict[str, object] = {"schema": SCHEMA, "name": name, "digest": digest}
    for key, value in expected.items():
        if about.get(key) != value:
            raise InputError(
                f"The state in {folder} has {key} {about.get(key)!r} but this training has {value!r}: "
                "restore the plan, examples and base it was made with, or start from an empty folder."
            )


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
