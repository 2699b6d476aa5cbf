"""Training state and local files: what a folder holds from which a training goes on to the same bits.

    {name}.safetensors        the adapter in fp32, keys as PEFT saves them
    optim_{name}.safetensors  AdamW's moments: exp_avg/<key>, exp_avg_sq/<key>
    trainer_state.json        by name: what is no tensor, and the digest of all that is; written last

A folder may hold several names (guard and attacker). Every field is needed: without it, or with another value, a
training is refused or ends with other bits. A damaged or exchanged tensor is found by the digest. Betas, weight decay
and schedules belong to the plan, whose digest is checked. Leaves out: publishing, which is `checkpoints`, and versions
of programs, which are the run's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from blake3 import blake3
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, uint8

from tsgb.checkpoints.encoding import decode, encode
from tsgb.checkpoints.layout import TRAINER_STATE
from tsgb.errors import Corrupt, InputError
from tsgb.models.loading import Base
from tsgb.records.run import SCHEMA
from tsgb.records.training import RandomNumbers, RoleState, TrainerState
from tsgb.training.optimizer import OptimizerState
from tsgb.training.rng import SCHEME
from tsgb.training.vector import AdapterVector

MOMENTS = ("exp_avg", "exp_avg_sq")


def save_state(state: OptimizerState, folder: Path, *, name: str, digest: str) -> None:
    """Write a state into an existing folder, beside those of other names; equal states make equal bytes."""
    tensors = tensors_digest(_tensors(state))
    # One entry: with several their order would differ from process to process.
    header = {"tsgb": json.dumps({"schema": SCHEMA, "step": state.steps, "digest": tensors})}
    save_file(state.adapter, folder / f"{name}.safetensors", metadata=header)
    optimizer = {key: tensor for key, tensor in _tensors(state).items() if key.startswith(MOMENTS)}
    save_file(optimizer, folder / f"optim_{name}.safetensors", metadata=header)
    roles = _roles(folder) if (folder / TRAINER_STATE).exists() else {}
    about = RoleState(
        digest=digest,
        steps=state.steps,
        adam_steps=state.adam_steps,
        learning_rates=(state.learning_rate,),
        rng=RandomNumbers(seed=state.seed, scheme=SCHEME),
        tensors=tensors,
    )
    part = folder / f"{TRAINER_STATE}.part"
    part.write_bytes(encode(TrainerState(schema=SCHEMA, roles={**roles, name: about})))
    part.replace(folder / TRAINER_STATE)


def load_state(folder: Path, *, name: str, digest: str) -> OptimizerState:
    """Read a state back; raises `InputError` when it is not whole, or belongs to something else than `digest`."""
    try:
        about = _role(folder, name)
        _check(about, folder, digest)
        adapter = load_file(folder / f"{name}.safetensors")
        moments = load_file(folder / f"optim_{name}.safetensors")
        exp_avg, exp_avg_sq = (_under(moments, f"{moment}/") for moment in MOMENTS)
        rate = about.learning_rates[0]
        state = OptimizerState(about.steps, adapter, exp_avg, exp_avg_sq, about.adam_steps, rate, about.rng.seed)
        if tensors_digest(_tensors(state)) != about.tensors:
            raise ValueError(f"its tensors are not those that {TRAINER_STATE} tells of")
    except (OSError, ValueError, SafetensorError) as error:
        raise _not_whole(folder, error) from error
    return state


def require_rate(state: OptimizerState, rate: float) -> None:
    """Refuse a state whose learning rate is another than its last step should have had: it was not saved with it."""
    if state.learning_rate != rate:
        raise InputError(
            f"The state after step {state.steps} has learning rate {state.learning_rate!r} but its last step should "
            f"have had {rate!r}: restore an earlier checkpoint, or the settings it was made with."
        )


def load_weights(base: Base, name: str, file: Path) -> None:
    """Give an adapter that the base has the weights of a saved state; raises `InputError` when they are not whole."""
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file} holds no whole adapter ({error}); restore an earlier checkpoint.") from error
    vector = AdapterVector(base, name)
    vector.write(vector.flat(tensors))


def state_digest(source: OptimizerState | Path) -> str:
    """BLAKE3 of a state, or of all states in a folder: equal for equal numbers, however stored or computed.

    Raises `InputError` when the folder is not whole.
    """
    if isinstance(source, OptimizerState):
        scalars = (source.steps, source.adam_steps, source.learning_rate, source.seed)
        return blake3(f"{scalars!r} {tensors_digest(_tensors(source))}".encode()).hexdigest()
    lines = []
    for name in sorted(_roles(source)):
        about = _role(source, name)
        lines.append(f"{name} {about.digest} {state_digest(load_state(source, name=name, digest=about.digest))}")
    return blake3("\n".join(lines).encode()).hexdigest()


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """BLAKE3 over sorted names, types, shapes and bytes, in hexadecimal."""
    digest = blake3()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(uint8).numpy().data)
    return digest.hexdigest()


def _tensors(state: OptimizerState) -> dict[str, Tensor]:
    groups = {"p": state.adapter, "exp_avg": state.exp_avg, "exp_avg_sq": state.exp_avg_sq}
    return {f"{group}/{key}": tensor for group, tensors in groups.items() for key, tensor in tensors.items()}


def _roles(folder: Path) -> dict[str, RoleState]:
    """The entries of `trainer_state.json` by name; raises `InputError` when it is not whole or not to be read."""
    path = folder / TRAINER_STATE
    try:
        return decode(TrainerState, path.read_bytes(), str(path)).roles
    except (OSError, Corrupt) as error:
        raise _not_whole(folder, error) from error


def _role(folder: Path, name: str) -> RoleState:
    roles = _roles(folder)
    if name not in roles:
        raise InputError(f"The state in {folder} is of {sorted(roles)}, not of {name!r}; restore another folder.")
    return roles[name]


def _not_whole(folder: Path, error: Exception) -> InputError:
    return InputError(f"{folder} holds no whole training state ({error}); restore an earlier checkpoint.")


def _check(about: RoleState, folder: Path, digest: str) -> None:
    for key, value, expected in (("digest", about.digest, digest), ("rng scheme", about.rng.scheme, SCHEME)):
        if value != expected:
            raise InputError(
                f"The state in {folder} has {key} {value!r} but this training has {expected!r}: "
                "restore the plan, examples and base it was made with, or start from an empty folder."
            )


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
