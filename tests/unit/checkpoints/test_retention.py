"""Old commits go, but never the head, what a finished stage names, or anything by a fenced writer's hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsgb.checkpoints import Journal, acquire, fetch, pin, retain, sweep_fenced, unpin
from tsgb.checkpoints.chain import chain
from tsgb.checkpoints.heads import read_head
from tsgb.checkpoints.layout import commit_key
from tsgb.errors import Fenced, InputError, Missing
from tsgb.storage import LocalStore

from .conftest import PublishStep


def commits(store: LocalStore) -> set[str]:
    return {"/".join(key.split("/")[3:5]) for key in store.list("runs/demo/commits/")}


def test_the_last_few_of_each_stage_and_what_finished_stages_name_are_kept(
    store: LocalStore, publish_step: PublishStep, tmp_path: Path
) -> None:
    lease = acquire(store, "demo", "me")
    train = [publish_step(lease, step, "train").commit for step in range(12)]
    attack = [publish_step(lease, step, "attack").commit for step in range(3)]
    Journal(store, "demo").finish(0, "train", {"adapter": {"commit": train[4]}})
    assert set(retain(store, lease, keep_last=2)) == {*train[:4], *train[5:10], attack[0]}
    assert commits(store) == {train[4], *train[10:], *attack[1:]}
    for commit in commits(store):
        fetch(store, "demo", commit, tmp_path / "back")


def test_the_head_is_kept_even_if_a_later_step_exists(store: LocalStore, publish_step: PublishStep) -> None:
    lease = acquire(store, "demo", "me")
    publish_step(lease, 7)
    newest = publish_step(lease, 3)
    retain(store, lease, keep_last=1)
    head = read_head(store, "demo").head
    assert head
    assert head.commit == newest.commit
    assert newest.commit in commits(store)


def test_what_fenced_writers_left_is_swept_on_demand_and_what_is_under_way_is_not(
    store: LocalStore, publish_step: PublishStep
) -> None:
    ancestor = publish_step(acquire(store, "demo", "me"), 1).commit
    store.put_new(commit_key("demo", "e1/r0-train-s2-aaaaaaaa", "adapter.safetensors"), b"torn")
    lease = acquire(store, "demo", "me")
    own = publish_step(lease, 2).commit
    store.put_new(commit_key("demo", "e2/r0-train-s3-bbbbbbbb", "adapter.safetensors"), b"under way")
    assert retain(store, lease, keep_last=1) == []
    assert sweep_fenced(store, "demo") == ["e1/r0-train-s2-aaaaaaaa"]
    assert commits(store) == {ancestor, own, "e2/r0-train-s3-bbbbbbbb"}


def test_publishing_itself_keeps_the_last_few_of_its_stage(store: LocalStore, publish_step: PublishStep) -> None:
    lease = acquire(store, "demo", "me")
    attack = publish_step(lease, 0, "attack").commit
    train = [publish_step(lease, step, keep_last=3).commit for step in range(6)]
    assert commits(store) == {attack, *train[-3:]}
    assert [manifest.commit for manifest in chain(store, "demo")] == [*reversed(train[-3:]), attack]


def test_never_fewer_than_two_commits_are_kept(store: LocalStore, publish_step: PublishStep) -> None:
    lease = acquire(store, "demo", "me")
    train = [publish_step(lease, step, keep_last=1).commit for step in range(4)]
    retain(store, lease, keep_last=1)
    assert commits(store) == set(train[-2:])


def test_a_pinned_commit_is_kept_until_it_is_unpinned(store: LocalStore, publish_step: PublishStep) -> None:
    lease = acquire(store, "demo", "me")
    first = publish_step(lease, 0).commit
    pin(store, "demo", first, "the one that worked")
    pin(store, "demo", first, "said twice")
    for step in range(1, 5):
        publish_step(lease, step, keep_last=2)
    assert first in commits(store)
    unpin(store, "demo", first)
    publish_step(lease, 5, keep_last=2)
    assert first not in commits(store)
    with pytest.raises(Missing):
        pin(store, "demo", first)


def test_a_pin_set_while_its_commit_is_leaving_the_chain_keeps_it_or_is_refused(
    store: LocalStore, publish_step: PublishStep, tmp_path: Path
) -> None:
    class Pinning(LocalStore):
        """Somebody pins the first commit just before, or just after, the head moves."""

        def compare_and_set(self, key: str, expected: bytes | None, new: bytes) -> None:
            pin(store, "demo", first)
            super().compare_and_set(key, expected, new)
            with pytest.raises(InputError, match="has left the chain"):
                pin(store, "demo", second)

    lease = acquire(store, "demo", "me")
    first, second, *_ = [publish_step(lease, step).commit for step in range(4)]
    retain(Pinning(store.root), lease, keep_last=2)
    assert first in commits(store)


def test_a_fenced_writer_deletes_nothing(store: LocalStore, publish_step: PublishStep) -> None:
    old = acquire(store, "demo", "old")
    for step in range(3):
        publish_step(old, step)
    acquire(store, "demo", "new")
    before = store.list("")
    with pytest.raises(Fenced):
        retain(store, old, keep_last=1)
    assert store.list("") == before


def test_at_least_one_commit_has_to_be_kept(store: LocalStore) -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        retain(store, acquire(store, "demo", "me"), keep_last=0)
