"""What computes: the hardware and the libraries that decide how sums are rounded, as far as they can be asked.

Equal bits are promised where all of this is equal. Where it is not, a state still comes back as it was, and the person
is told that what follows may round differently.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = ("tsgb", "tokenizers", "torch", "transformers", "peft", "safetensors", "deepspeed")


def fingerprint() -> dict[str, str]:
    """This machine: processor, the instructions torch uses of it, graphics processor, versions of the libraries."""
    found = {"processor": _processor(), "instructions": torch.backends.cpu.get_cpu_capability()}
    if torch.cuda.is_available():
        found |= {"gpu": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}
    found |= {name: held for name in PACKAGES if (held := _version(name))}
    return {name: _as_name(text) for name, text in found.items()}


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What was another when something was computed, a phrase each."""
    names = sorted(before.keys() | now.keys())
    return [
        f"{name} was {before.get(name, 'not recorded')}, is {now.get(name, 'not there')}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def downgraded(what: str, before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """The sentence that takes the promise of equal bits back, where the machine is not the same; else None."""
    if not (differing := differences(before, now)):
        return None
    return (
        f"{what} was computed elsewhere ({'; '.join(differing)}): it goes on from exactly that state, but from here on "
        "its bits need not be those of a run that was never moved."
    )


def _as_name(text: str) -> str:
    """What others wrote as they liked, in the letters that a stored name may have."""
    return re.sub(r"[^A-Za-z0-9_.+]+", "-", text).strip("-.+")[:100] or "unknown"


def _processor() -> str:
    """The processor's own name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
