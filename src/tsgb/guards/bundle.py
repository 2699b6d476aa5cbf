"""The guards of one hardened model, as one thing to ask, to store and to refuse.

Promises: guards answer only for the base and the adapter they were made with: both digests are stored, and loading them
beside any other weights is refused (a probe goes stale as soon as the model moves). `guards.json` is written last.

    guards.json         digests, layers, thresholds
    probe.safetensors   weight_F, bias, mean_F, scale_F

Leaves out: base and adapter themselves, which are stored by `models.loading`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from tsgb.errors import InputError, ModelError
from tsgb.guards.monitor import RepresentationMonitor
from tsgb.guards.probe import LinearProbe
from tsgb.guards.readings import Dialogue, Reading, read_calls
from tsgb.guards.thresholds import Action, Thresholds
from tsgb.models.loading import PREFIX, Base, adapter_parameters
from tsgb.models.rendering import Tools
from tsgb.records.base import Record

ABOUT, PROBE = "guards.json", "probe.safetensors"
_STRICTNESS: tuple[Action, ...] = ("allow", "warn", "block")


class Decision(Record):
    """What the guards say of one proposed turn of calls."""

    message: int
    """Which message of the dialogue proposes it."""
    action: Action
    """The strictest guard's word."""
    actions: dict[str, Action]
    """Each guard's word, by its name."""
    scores: dict[str, float]
    """Each guard's score, by its name."""


@dataclass(frozen=True)
class Guards:
    """Monitor and probe of one hardened model, with the thresholds of each by its name."""

    base: Base
    adapter: str
    layers: tuple[int, ...]
    monitor: RepresentationMonitor
    probe: LinearProbe
    thresholds: Mapping[str, Thresholds]

    def decide(self, dialogues: Sequence[Dialogue], tools: Tools = ()) -> list[tuple[Decision, ...]]:
        """For each dialogue, a decision on every call that is proposed in it.

        The strictest guard counts, so the rate of benign calls that are blocked is at most the sum of both promises.
        """
        decided: dict[int, list[Decision]] = defaultdict(list)
        for reading in read_calls(self.base, self.adapter, dialogues, tools, layers=self.layers):
            decided[reading.dialogue].append(self._decision(reading))
        return [tuple(decided[number]) for number in range(len(dialogues))]

    def _decision(self, reading: Reading) -> Decision:
        scores = {guard.name: guard.score(reading) for guard in (self.monitor, self.probe)}
        actions = {name: self.thresholds[name].action(score) for name, score in scores.items()}
        strictest = max(actions.values(), key=_STRICTNESS.index)
        return Decision(message=reading.message, action=strictest, actions=actions, scores=scores)


class _About(Record):
    """`guards.json`."""

    schema_version: Literal[1] = 1
    base_digest: str
    adapter_digest: str
    layers: tuple[int, ...]
    monitor: Thresholds
    probe: Thresholds


def adapter_digest(base: Base, name: str) -> str:
    """SHA-256 over an adapter's scale and weights: the same wherever it was stored and whatever it is called."""
    digest = hashlib.sha256(f"{base.adapters[name].lora_alpha} {base.adapters[name].r}\n".encode())
    for key, parameter in adapter_parameters(base, name).items():
        module = key.removeprefix(PREFIX).removesuffix(".weight")
        digest.update(f"{module} {tuple(parameter.shape)}\n".encode())
        digest.update(parameter.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_guards(folder: str | Path, guards: Guards) -> None:
    """Store guards, bound to the digests of their base and adapter, with the same bytes for the same guards."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    save_file(asdict(guards.probe), target / PROBE)
    about = _About(
        base_digest=guards.base.digest,
        adapter_digest=adapter_digest(guards.base, guards.adapter),
        layers=guards.layers,
        monitor=guards.thresholds[guards.monitor.name],
        probe=guards.thresholds[guards.probe.name],
    )
    (target / ABOUT).write_text(about.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_guards(folder: str | Path, base: Base, adapter: str) -> Guards:
    """Guards for a base with an adapter loaded; raises `ModelError` when they were made for other weights."""
    source = Path(folder)
    try:
        about = _About.model_validate_json((source / ABOUT).read_bytes())
        probe = LinearProbe(**load_file(source / PROBE))
    except (OSError, ValidationError, SafetensorError, TypeError) as error:
        raise InputError(f"There are no whole guards in {str(source)!r}: it needs {ABOUT} and {PROBE}.") from error
    _check("base", about.base_digest, base.digest, source)
    _check("adapter", about.adapter_digest, adapter_digest(base, adapter), source)
    monitor = RepresentationMonitor()
    thresholds = {monitor.name: about.monitor, probe.name: about.probe}
    return Guards(base, adapter, about.layers, monitor, probe, thresholds)


def _check(what: str, promised: str, found: str, source: Path) -> None:
    if promised != found:
        raise ModelError(
            f"The guards in {str(source)!r} were made for the {what} {promised[:12]}, and this {what} is {found[:12]}: "
            f"load the {what} they belong to, or fit guards anew."
        )
