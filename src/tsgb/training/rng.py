"""Random numbers that need no saving: each is a function of where it is drawn, never of what was drawn before.

Promises: numbers are keyed by (seed, step, virtual rank, site, call), and element i of a draw depends on the key and i
alone; they are integers until the last operation, so every process and device draws the same bits. The generator is
SplitMix64 (Steele, Lea, Flood 2014, "Fast Splittable Pseudorandom Number Generators", figure 16), started at a BLAKE3
of the key.
Leaves out: gradient checkpointing, which would call a site twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from blake3 import blake3
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from tsgb.models.loading import Base

SCHEME = "blake3-splitmix64-1"
"""Name of this way to make random numbers; a state made in another way is refused."""

GAMMA, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
BITS_OF_A_FLOAT = 24


def key_of(*place: int | str) -> int:
    """64 bits that name a place, such as (seed, step, virtual rank, site, call)."""
    return int.from_bytes(blake3(repr(place).encode()).digest(8), "little")


def splitmix64(key: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """The first `count` numbers of the generator started at `key`, as int64 of the same 64 bits."""
    state = torch.arange(1, count + 1, device=device) * _signed(GAMMA) + _signed(key)
    state = (state ^ _shifted(state, 30)) * _signed(FIRST)
    state = (state ^ _shifted(state, 27)) * _signed(SECOND)
    return state ^ _shifted(state, 31)


def uniform(key: int, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Numbers of `shape` in [0, 1), multiples of 2⁻²⁴."""
    bits = _shifted(splitmix64(key, torch.Size(shape).numel(), device), 64 - BITS_OF_A_FLOAT)
    return (bits.float() * 2.0**-BITS_OF_A_FLOAT).reshape(tuple(shape))


class KeyedDropout(nn.Module):
    """Dropout at one site; its masks are functions of the place it was told, and it does nothing where it was not."""

    def __init__(self, probability: float, site: str) -> None:
        super().__init__()
        self._probability, self._site = probability, site
        self._place: tuple[int, ...] | None = None
        self._calls = 0

    def tell(self, place: tuple[int, ...] | None) -> None:
        """From now on draw at this place: seed, step and virtual rank; None: drop nothing."""
        self._place, self._calls = place, 0

    def forward(self, values: Tensor) -> Tensor:
        """The values, some of them dropped and the rest scaled up."""
        if self._place is None:
            return values
        drawn = uniform(key_of(*self._place, self._site, self._calls), values.shape, values.device)
        self._calls += 1
        return torch.where(drawn < self._probability, 0.0, values / (1 - self._probability))


def add_dropout(base: Base, name: str, probability: float) -> list[KeyedDropout]:
    """Give every module of an adapter a dropout before its A, and return them; none for a probability of 0."""
    sites = []
    for site, module in base.model.named_modules() if probability else ():
        if isinstance(module, LoraLayer) and name in module.lora_dropout:
            sites.append(KeyedDropout(probability, site))
            module.lora_dropout[name] = sites[-1]
    return sites


@contextmanager
def drawing(sites: Sequence[KeyedDropout], seed: int, step: int, part: int) -> Iterator[None]:
    """Let dropouts draw for one virtual rank of one step, until the block ends."""
    for site in sites:
        site.tell((seed, step, part))
    try:
        yield
    finally:
        for site in sites:
            site.tell(None)


def _signed(bits: int) -> int:
    bits &= 2**64 - 1
    return bits - 2**64 if bits >= 2**63 else bits


def _shifted(values: Tensor, count: int) -> Tensor:
    """A logical shift to the right: the arithmetic one, without the copies of the sign."""
    shifted: Tensor = (values >> count) & (2 ** (64 - count) - 1)
    return shifted
