"""Pauses, deadlines and paces, by a clock that only moves when somebody sleeps."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tsgb.errors import Unreachable
from tsgb.storage.pace import Pace, PacedFile
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


def is_timeout(error: Exception) -> bool:
    return isinstance(error, TimeoutError)


def test_what_is_transient_is_asked_again_with_growing_random_pauses() -> None:
    clock, moody = Clock(), Moody(12, TimeoutError())
    patience = Patience(1000, clock=clock, sleep=clock.sleep, random=Random(0))
    assert patience.until_answered(moody, is_timeout, "it") == "answer"
    assert len(clock.pauses) == 12
    assert all(pause <= min(LONGEST_PAUSE_S, 0.1 * 2**n) for n, pause in enumerate(clock.pauses))
    assert len(set(clock.pauses)) == 12


def test_patience_ends_at_its_deadline() -> None:
    clock, moody = Clock(), Moody(10**6, TimeoutError())
    patience = Patience(30, clock=clock, sleep=clock.sleep, random=Random(0))
    with pytest.raises(Unreachable, match=r"the bucket got no answer within 30 s \(TimeoutError\)"):
        patience.until_answered(moody, is_timeout, "the bucket")
    assert 15 < clock.now <= 30


def test_any_other_error_is_raised_at_once() -> None:
    moody = Moody(1, ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        Patience(30).until_answered(moody, is_timeout, "it")
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


def test_a_paced_file_reads_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    clock = Clock()
    with PacedFile(tmp_path / "file", Pace(5, clock=clock, sleep=clock.sleep)) as file:
        assert (file.read(4), file.tell(), file.seek(2), file.read()) == (b"0123", 4, 2, b"23456789")
    assert clock.now > 0
