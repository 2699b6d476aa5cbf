"""Snapshots are published one at a time, the newest when there is room; and how often is worth it."""

from __future__ import annotations

from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsgb.checkpoints.background import Background
from tsgb.checkpoints.cadence import LONGEST_S, Cadence, best_interval_s


def test_while_one_snapshot_is_under_way_no_other_is_taken() -> None:
    published: list[int] = []
    begun, may_end = Event(), Event()

    def publish(step: int) -> None:
        begun.set()
        assert may_end.wait(timeout=30)
        published.append(step)

    with Background(publish) as background:
        assert background.offer(lambda: 1)
        assert begun.wait(timeout=30)
        assert not background.offer(lambda: pytest.fail("a second snapshot was taken"))
        may_end.set()
        background.wait()
        assert background.offer(lambda: 3)
    assert published == [1, 3]


def test_what_goes_wrong_in_the_background_is_raised_at_the_next_call() -> None:
    def publish(step: int) -> None:
        raise OSError("no space")

    with Background(publish) as background:
        background.offer(lambda: 1)
        with pytest.raises(OSError, match="no space"):
            background.wait()
        background.wait()
    with pytest.raises(OSError, match="no space"), Background(publish) as background:
        background.offer(lambda: 1)


def test_the_interval_is_that_of_young_and_daly() -> None:
    assert best_interval_s(0.05, 0.0, 1.0) == pytest.approx(18.97, abs=0.01)
    assert best_interval_s(6.0, 0.0, 1.0) == pytest.approx(207.8, abs=0.1)


@given(stall=st.floats(0, 1e4), upload=st.floats(0, 1e4), rate=st.floats(1e-3, 1e3))
def test_no_interval_is_shorter_than_an_upload_or_longer_than_five_minutes(
    stall: float, upload: float, rate: float
) -> None:
    assert min(upload, LONGEST_S) <= best_interval_s(stall, upload, rate) <= LONGEST_S


def test_a_cadence_counts_steps_or_seconds() -> None:
    assert [Cadence(steps=3).due(steps, 1e9) for steps in (1, 2, 3, 4)] == [False, False, True, True]
    measured = Cadence(steps=0, interruptions_per_hour=2.0, stall_s=0.5, upload_s=4.0)
    assert [measured.due(1, seconds) for seconds in (4.0, 42.0, 43.0)] == [False, False, True]
