"""The real code in every order of requests: nothing is violated, and broken variants are told from it.

The short form of `benchmarks/protocol.py`, which goes on for as many states as one likes.
"""

from __future__ import annotations

import protocol
import pytest
from variants import VARIANTS

SHORT = 1_500
"""States a scenario; some have fewer and are looked at whole."""


@pytest.mark.parametrize("name", protocol.SCENARIOS)
def test_nothing_is_violated_in_any_order_of_requests(name: str) -> None:
    search = protocol.search(name)
    assert protocol.violation(search, SHORT) == ""
    assert search.counts.states >= SHORT or search.counts.complete


@pytest.mark.parametrize("name", ["writer, rollback", "granted: two writers"])
def test_nothing_is_violated_to_the_end_where_requests_are_only_reordered(name: str) -> None:
    search = protocol.search(name)
    search.faults = 0
    assert protocol.violation(search, 20_000) == ""
    assert search.counts.complete


@pytest.mark.parametrize("name", VARIANTS)
def test_a_broken_variant_is_caught_by_what_is_promised(name: str) -> None:
    with VARIANTS[name].broken():
        search = protocol.search(VARIANTS[name].scenario, means=False)
        search.faults = VARIANTS[name].faults
        story = protocol.violation(search, 40_000)
    assert VARIANTS[name].violates in story, story or "nothing was noticed"
