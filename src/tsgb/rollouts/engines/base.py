"""What every engine offers: dialogues in, the agent's next words out, in the same order.

An engine renders dialogues itself, as the model behind it wants them; it neither parses nor acts on what was
written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pydantic import Field

from tsgb.records.base import Record
from tsgb.records.dialogue import Message


class Sampling(Record):
    """How the next tokens are chosen; the same sampling of the same dialogues gives the same words."""

    temperature: float = Field(default=0.0, ge=0.0)
    """0 takes the likeliest token."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Only the likeliest tokens that together have this probability may be drawn."""
    max_new_tokens: int = Field(default=56, ge=1)
    """At most so many tokens are written."""
    seed: int = 0
    """Seed of the draws."""


class Completion(Record):
    """What was written in one turn."""

    text: str
    """The turn's text without its end-of-turn token; a prefill stands in front."""
    token_ids: tuple[int, ...] = ()
    """The generated tokens, the end-of-turn token included; empty where the engine does not tell."""
    logprobs: tuple[float, ...] = ()
    """Their log-probabilities at temperature 1, in nats; empty where the engine does not tell."""


class Engine(Protocol):
    """Something that continues dialogues."""

    def complete(
        self,
        dialogues: Sequence[Sequence[Message]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        adapter: str | None,
        prefills: Sequence[str] | None = None,
        sampling: Sampling,
    ) -> list[Completion]:
        """One completion for each dialogue, in order; `adapter` None asks the base, prefills begin the turns."""
        ...
