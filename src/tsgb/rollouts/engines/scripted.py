"""An engine without a model: it answers from a script, for tests, demonstrations and a look at an environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tsgb.errors import InputError
from tsgb.records.dialogue import Message
from tsgb.rollouts.engines.base import Completion, Sampling

Script = Callable[[Sequence[Message]], str] | Mapping[str, str]
"""What to answer: a function of the dialogue, or the answer by the words of the last message."""


class ScriptedEngine:
    """Answers every dialogue as the script says, whichever adapter or sampling is asked for."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def complete(
        self,
        dialogues: Sequence[Sequence[Message]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        adapter: str | None,
        prefills: Sequence[str] | None = None,
        sampling: Sampling,
    ) -> list[Completion]:
        """One scripted answer for each dialogue, behind its prefill; raises `InputError` where a mapping has none."""
        beginnings = prefills or [""] * len(dialogues)
        return [
            Completion(text=beginning + self._answer(dialogue))
            for dialogue, beginning in zip(dialogues, beginnings, strict=True)
        ]

    def _answer(self, dialogue: Sequence[Message]) -> str:
        if callable(self._script):
            return self._script(dialogue)
        heard = dialogue[-1].content
        if heard not in self._script:
            raise InputError(f"The script has no answer to {heard!r}; add one, or script the engine with a function.")
        return self._script[heard]
