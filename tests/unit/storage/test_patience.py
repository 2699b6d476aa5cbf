"""Pauses, deadlines and paces, by a clock that only moves when somebody sleeps."""

from __future__ import annotations

from random import Random

import pytest

from tsgb.errors import Unreachable
from tsgb.storage.answers import Refused, Unanswered
from tsgb.storage.pace import Pace
from tsgb.storage.patience import LONGEST_PAUSE_S, Patience


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now, self.pauses = 0.0, list[float]()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


class Moody:
    """Fails so often before it answers."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error, self.calls = failures, error, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return "answer"


def test_what_is_transient_is_asked_again_with_growing_random_pauses() -> None:
    clock, moody = Clock(), Moody(12, Unanswered())
    patience = Patience(1000, "it", clock=clock, sleep=clock.sleep, random=Random(0))
    assert patience.until_answered(moody) == "answer"
    assert len(clock.pauses) == 12
    assert all(pause <= min(LONGEST_PAUSE_S, 0.1 * 2**n) for n, pause in enumerate(clock.pauses))
    assert len(set(clock.pauses)) == 12


def test_patience_ends_at_its_deadline() -> None:
    clock, moody = Clock(), Moody(10**6, Unanswered("503"))
    patience = Patience(30, "the bucket", clock=clock, sleep=clock.sleep, random=Random(0))
    with pytest.raises(Unreachable, match=r"the bucket gave no answer within 30 s \(503\)"):
        patience.until_answered(moody)
    assert 15 < clock.now <= 30


def test_any_other_error_is_raised_at_once() -> None:
    moody = Moody(1, ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        Patience(30, "it").until_answered(moody)
    assert moody.calls == 1


def test_a_pace_lets_a_seconds_worth_through_at_once_and_then_holds() -> None:
    clock = Clock()
    pace = Pace(1000, clock=clock, sleep=clock.sleep)
    clock.now += 100
    for _ in range(50):
        pace.wait(100)
    assert sum(clock.pauses) == pytest.approx(4.0)
    Pace(0, clock=clock, sleep=clock.sleep).wait(10**9)
    assert sum(clock.pauses) == pytest.approx(4.0)


class Slot:
    """A place that takes a write, whose replies are lost for so long."""

    def __init__(self, holds: str, lost: int = 0) -> None:
        self.holds, self.lost, self.writes = holds, lost, 0

    def put(self) -> None:
        self.writes += 1
        if self.holds:
            raise Refused
        self.holds = "mine"
        if self.writes <= self.lost:
            raise Unanswered

    def is_mine(self) -> bool:
        return self.holds == "mine"


@pytest.mark.parametrize(
    ("slot", "same_is_mine", "done", "writes"),
    [
        (Slot(""), False, True, 1),
        (Slot("", lost=1), False, True, 1),
        (Slot("theirs"), True, False, 1),
        (Slot("mine"), True, True, 1),
        (Slot("mine"), False, False, 1),
    ],
)
def test_a_write_is_sent_again_only_if_it_is_not_found(slot: Slot, same_is_mine: bool, done: bool, writes: int) -> None:
    clock = Clock()
    patience = Patience(30, "it", clock=clock, sleep=clock.sleep)
    assert patience.write(slot.put, slot.is_mine, same_is_mine=same_is_mine) == done
    assert slot.writes == writes
