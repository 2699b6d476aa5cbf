"""A snapshot is of the step after which it was taken, however late it is copied, and costs one copy of the state."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest

from tsgb.models.loading import Base
from tsgb.records.training import Example
from tsgb.training.defender import Defender
from tsgb.training.plan import TrainingPlan
from tsgb.training.state import load_state, state_digest

Examples = tuple[Example, ...]


def test_a_step_that_is_ready_waits_until_the_last_one_has_been_copied(
    base: Base, examples: Examples, plan: TrainingPlan, tmp_path: Path
) -> None:
    with Defender(base, examples, plan) as defender:
        defender.step()
        before, snapshot = state_digest(defender.state()), defender.snapshot()
        training = Thread(target=defender.step)
        training.start()
        training.join(timeout=1)
        assert training.is_alive()
        snapshot.copied()
        training.join()
        assert (defender.steps, snapshot.step) == (2, 1)
        assert defender.still.waited_s > 0
        snapshot.save(tmp_path)
        assert state_digest(load_state(tmp_path, name="guard", digest=defender.digest)) == before
        assert state_digest(defender.state()) != before
        assert len((tmp_path / "reports_guard.jsonl").read_text().splitlines()) == 1


def test_snapshots_share_their_memory_and_nothing_with_the_training(
    base: Base, examples: Examples, plan: TrainingPlan
) -> None:
    with Defender(base, examples, plan) as defender:
        defender.step()
        first, second = defender.snapshot().copied(), defender.snapshot().copied()
        live = {defender._optimizer.vector.data_ptr()}
        for group in ("adapter", "exp_avg", "exp_avg_sq"):
            places = [
                {tensor.untyped_storage().data_ptr() for tensor in getattr(s, group).values()} for s in (first, second)
            ]
            assert places[0] == places[1]
            assert len(places[0]) == 1
            assert not places[0] & live


def test_a_copy_that_fails_lets_the_training_go_on(
    base: Base, examples: Examples, plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Defender(base, examples, plan) as defender:
        snapshot = defender.snapshot()
        monkeypatch.setattr(snapshot, "_copy", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            snapshot.copied()
        assert defender.step().step == 1
