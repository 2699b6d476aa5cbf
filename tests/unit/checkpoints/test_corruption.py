"""Damage to any one object of a run is noticed before use, and gone on from. Short form of the benchmark's 10,000."""

from __future__ import annotations

from collections import Counter

from corruption import DAMAGES, PLACES, cases


def test_nothing_damaged_is_ever_used_or_lost() -> None:
    found = cases(200, seed=1)
    total = sum(found.values(), Counter[str]())
    assert set(found) == {(place, damage) for place in PLACES for damage in DAMAGES}
    assert total["used"] == total["lost"] == 0
    assert total["recovered"] > total["unread"]
