"""A first signal lets a deferred section finish, a second one exits; outside, work ends at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tsgb.errors import Interrupted
from tsgb.worker.interruption import Interruption


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_outside_a_deferred_section_a_signal_ends_the_work_at_once(number: signal.Signals) -> None:
    with Interruption().heard(), pytest.raises(Interrupted, match=number.name):
        os.kill(os.getpid(), number)


def test_a_deferred_section_decides_itself_when_to_stop() -> None:
    steps: list[int] = []

    def work(interruption: Interruption) -> None:
        with interruption.deferred():
            for step in range(5):
                if step == 2:
                    os.kill(os.getpid(), signal.SIGTERM)
                steps.append(step)
                if interruption.asked:
                    assert 0 < interruption.seconds_left <= 15
                    break

    with Interruption().heard() as interruption, pytest.raises(Interrupted):
        work(interruption)
    assert steps == [0, 1, 2]


def test_a_notice_counts_like_a_signal_and_says_how_long_there_is() -> None:
    interruption = Interruption()
    with interruption.deferred():
        interruption.announce("the provider's notice", seconds=120)
        assert 100 < interruption.seconds_left <= 120
        left = interruption.asked
        interruption.asked = None
    assert left == "the provider's notice"
    with pytest.raises(Interrupted, match="the provider's notice"):
        interruption.announce("the provider's notice", seconds=120)


def test_the_handlers_of_before_are_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interruption().heard():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_second_signal_exits_on_the_spot() -> None:
    program = """
import os, signal
from tsgb.worker.interruption import Interruption
with Interruption().heard() as interruption, interruption.deferred():
    os.kill(os.getpid(), signal.SIGTERM)
    print("still here", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    print("never said", flush=True)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (128 + signal.SIGTERM, "still here\n")
