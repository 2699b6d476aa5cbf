"""How far a run is, told from its files alone."""

from __future__ import annotations

import pytest

from tsgb.errors import InputError
from tsgb.report.progress import EXAM, STAGES, read_status
from tsgb.report.runs import find_run
from tsgb.storage import LocalStore
from tsgb.worker import round as rounds


def test_a_run_that_was_begun_says_where_it_goes_on(begun: LocalStore) -> None:
    status = read_status(*find_run(begun.root, "demo"))
    found = {(each.round, each.stage): (each.state, each.parts, each.commits, each.step) for each in status.stages}
    assert found[0, "rollout"] == ("done", 1, 0, None)
    assert found[0, "attack"] == ("begun", 1, 0, None)
    assert found[0, "train"] == ("begun", 0, 2, 20)
    assert found[1, "plan"] == ("to do", 0, 0, None)
    assert (status.owner, status.epoch, status.defender) == ("ada", 1, None)
    assert status.next == "round 0, stage attack, after part 1"


def test_the_defender_is_the_newest_accepted_bundle(finished: LocalStore) -> None:
    status = read_status(*find_run(finished.root, "demo"))
    assert status.defender is not None
    assert status.defender.startswith("e2/r1-guards-s0-")
    assert (status.owner, status.epoch) == ("bob", 2)


def test_the_stages_are_those_that_a_round_works_through() -> None:
    assert tuple(name for name, _ in rounds.STAGES) == STAGES
    assert EXAM not in STAGES


def test_an_unknown_run_is_answered_with_those_that_exist(begun: LocalStore) -> None:
    with pytest.raises(InputError, match=r"^There is no run 'dmeo' in .*; choose one of: demo\.$"):
        find_run(begun.root, "dmeo")
