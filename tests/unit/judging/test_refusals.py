"""A refusal is told by its opening."""

from __future__ import annotations

import pytest

from tsgb.judging.refusals import refused


@pytest.mark.parametrize(
    "text",
    [
        "sorry, i can not help with that.",
        "I can’t do that.",
        " I'm sorry, but no.",
        "As an AI I must not.",
        "I cannot.",
    ],
)
def test_openings_of_refusals_are_known(text: str) -> None:
    assert refused(text)


@pytest.mark.parametrize(
    "text", ["", "done.", "i paid @karo. sorry for the delay.", "funy, i can not help", "i can pay"]
)
def test_other_answers_are_none(text: str) -> None:
    assert not refused(text)
