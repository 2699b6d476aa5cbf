"""Fencing with compare-and-set and without, lost replies, going back, and a head that is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsgb.checkpoints import Journal, acquire, grant, latest, publish, repair, resume_point, rollback
from tsgb.checkpoints.chain import chain
from tsgb.checkpoints.heads import read_head
from tsgb.errors import Conflict, Corrupt, Fenced, InputError, NoCompareAndSet, Unreachable
from tsgb.storage import LocalStore

from .conftest import PublishStep


class Blind(LocalStore):
    """A store that overwrites whatever the condition says, as some S3 services do."""

    def compare_and_set(self, key: str, expected: bytes | None, new: bytes) -> None:
        super().compare_and_set(key, self.get(key) if self.exists(key) else None, new)


class Forgetful(LocalStore):
    """A store that does what it was asked and then loses the reply."""

    def compare_and_set(self, key: str, expected: bytes | None, new: bytes) -> None:
        super().compare_and_set(key, expected, new)
        raise Conflict("412, to a request that was sent again")


def write(folder: Path, step: int) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "state").write_bytes(b"%d" % step)
    return folder


def commit(store: LocalStore, lease: object, step: int, folder: Path) -> str:
    place = {"round_number": 0, "stage": "train", "step": step}
    return publish(store, lease, folder=write(folder, step), **place).commit  # type: ignore[arg-type]


def test_a_store_that_cannot_fence_is_refused_without_a_granted_epoch(tmp_path: Path) -> None:
    with pytest.raises(NoCompareAndSet, match="a stale write got through"):
        acquire(Blind(tmp_path), "demo", "me")


def test_with_granted_epochs_a_run_goes_on_and_a_zombie_writes_where_nobody_looks(tmp_path: Path) -> None:
    store, folder = Blind(tmp_path / "store"), tmp_path / "state"
    old = acquire(store, "demo", "ignored", granted_epoch=grant(store, "demo", "first").epoch)
    first = commit(store, old, 1, folder)
    new = acquire(store, "demo", "ignored", granted_epoch=grant(store, "demo", "second").epoch)
    assert latest(store, "demo", 0, "train").manifest is not None
    with pytest.raises(Fenced, match="epoch 2"):
        commit(store, old, 2, folder)
    second = commit(store, new, 2, folder)
    assert [manifest.commit for manifest in chain(store, "demo")] == [second, first]


def test_a_granted_epoch_that_is_not_the_newest_is_refused(tmp_path: Path) -> None:
    store = Blind(tmp_path)
    grant(store, "demo", "first")
    grant(store, "demo", "second")
    with pytest.raises(Fenced, match="epoch 1 of run «demo» was granted, but epoch 2 is newer"):
        acquire(store, "demo", "me", granted_epoch=1)


def test_a_run_that_its_store_fences_is_granted_nothing(store: LocalStore) -> None:
    acquire(store, "demo", "me")
    with pytest.raises(NoCompareAndSet, match="need no granting"):
        grant(store, "demo", "me")


def test_a_lost_reply_is_recognised_by_ones_own_bytes(store: LocalStore, tmp_path: Path) -> None:
    lease = acquire(store, "demo", "me")
    done = commit(Forgetful(store.root), lease, 1, tmp_path / "state")
    head = read_head(store, "demo").head
    assert head
    assert head.commit == done


def test_an_unanswered_commit_is_unknown_and_the_next_one_builds_on_the_truth(
    store: LocalStore, tmp_path: Path
) -> None:
    class Silent(LocalStore):
        def compare_and_set(self, key: str, expected: bytes | None, new: bytes) -> None:
            super().compare_and_set(key, expected, new)
            raise Unreachable("no answer")

    lease = acquire(store, "demo", "me")
    with pytest.raises(Unreachable):
        commit(Silent(store.root), lease, 1, tmp_path / "state")
    second = commit(store, lease, 2, tmp_path / "state")
    assert [(m.commit == second, m.step) for m in chain(store, "demo")] == [(True, 2), (False, 1)]


def test_going_back_fences_the_writer_and_drops_what_was_newer(store: LocalStore, publish_step: PublishStep) -> None:
    lease = acquire(store, "demo", "me")
    commits = [publish_step(lease, step).commit for step in range(4)]
    assert rollback(store, "demo", commits[1], "a person").epoch == 2
    assert [manifest.commit for manifest in chain(store, "demo")] == [commits[1], commits[0]]
    with pytest.raises(Fenced):
        publish_step(lease, 4)
    with pytest.raises(InputError, match="is not on the chain of run «demo»"):
        rollback(store, "demo", commits[3], "a person")


def test_a_stage_that_is_done_is_not_gone_back_in(store: LocalStore, publish_step: PublishStep) -> None:
    lease = acquire(store, "demo", "me")
    past = publish_step(lease, 1, "attack").commit
    Journal(store, "demo").finish(0, "attack", {"commit": past})
    present = publish_step(lease, 1, "train").commit
    publish_step(lease, 2, "train")
    with pytest.raises(InputError, match="has finished attack"):
        rollback(store, "demo", past, "a person")
    rollback(store, "demo", present, "a person")


def test_any_flipped_bit_of_the_head_is_noticed_and_repaired(store: LocalStore, publish_step: PublishStep) -> None:
    lease = acquire(store, "demo", "me")
    commits = [publish_step(lease, step).commit for step in range(3)]
    path = store.root / "runs/demo/HEAD"
    whole = path.read_bytes()
    for at in range(0, len(whole) * 8, 37):
        damaged = bytearray(whole)
        damaged[at // 8] ^= 1 << at % 8
        path.write_bytes(damaged)
        with pytest.raises((Corrupt, InputError)):
            acquire(store, "demo", "me")
    path.write_bytes(whole.replace(b'"epoch": 1', b'"epoch": 7'))
    assert repair(store, "demo", "a person") is not None
    assert repair(store, "demo", "a person") is None
    assert [manifest.commit for manifest in chain(store, "demo")] == commits[::-1]
    with pytest.raises(Fenced):
        publish_step(lease, 3)


def test_the_resume_point_is_the_newest_commit_and_says_what_it_skips(
    store: LocalStore, publish_step: PublishStep
) -> None:
    assert resume_point(store, "demo") == (None, ())
    lease = acquire(store, "demo", "me")
    first, second = publish_step(lease, 1), publish_step(lease, 2)
    store.delete(f"runs/demo/commits/{second.commit}/manifest.json")
    manifest, skipped = resume_point(store, "demo")
    assert manifest == first
    assert second.commit in skipped[0]


def test_a_head_that_is_gone_is_noticed_and_repaired(store: LocalStore, publish_step: PublishStep) -> None:
    lease = acquire(store, "demo", "me")
    commits = [publish_step(lease, step).commit for step in range(2)]
    store.delete("runs/demo/HEAD")
    with pytest.raises(Corrupt, match="runs/demo/HEAD is gone"):
        acquire(store, "demo", "next")
    assert repair(store, "demo", "a person") is not None
    assert [manifest.commit for manifest in chain(store, "demo")] == commits[::-1]


def test_a_zombie_that_writes_its_head_after_the_next_epoch_was_granted_deletes_nothing(tmp_path: Path) -> None:
    class Replaced(Blind):
        """Another writer is granted the run, and takes it over, just before a head is written."""

        def put_new(self, key: str, data: bytes) -> None:
            if "/epochs/1/heads/" in key:
                other = Blind(self.root)
                acquire(other, "demo", "ignored", granted_epoch=grant(other, "demo", "next").epoch)
            super().put_new(key, data)

    store, folder = Blind(tmp_path / "store"), tmp_path / "state"
    old = acquire(store, "demo", "ignored", granted_epoch=grant(store, "demo", "first").epoch)
    commits = [commit(store, old, step, folder) for step in range(3)]
    place = {"round_number": 0, "stage": "train", "step": 3, "keep_last": 2}
    with pytest.raises(Fenced):
        publish(Replaced(store.root), old, folder=write(folder, 3), **place)  # type: ignore[arg-type]
    assert [manifest.commit for manifest in chain(store, "demo")] == commits[::-1]
