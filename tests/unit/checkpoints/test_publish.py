"""A commit exists when its manifest does, and only the owner of the run moves the head to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsgb.checkpoints import acquire, fetch, publish, resume
from tsgb.checkpoints.encoding import digest_of
from tsgb.checkpoints.heads import read_head
from tsgb.checkpoints.layout import MANIFEST, commit_key, position
from tsgb.checkpoints.lease import advance
from tsgb.errors import Conflict, Corrupt, Fenced, InputError
from tsgb.storage import LocalStore

from .conftest import PublishStep


def test_what_was_published_is_fetched_byte_for_byte(
    store: LocalStore, publish_step: PublishStep, tmp_path: Path
) -> None:
    published = publish_step(acquire(store, "demo", "me"), step=3)
    assert fetch(store, "demo", published.commit, tmp_path / "back") == published
    assert (tmp_path / "back/adapter.safetensors").read_bytes() == b"adapter 3" * 20
    assert (tmp_path / "back/optim/moments.safetensors").read_bytes() == b"moments 3" * 20
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == ["adapter.safetensors", "optim"]


def test_the_head_names_the_newest_commit_and_its_manifest(store: LocalStore, publish_step: PublishStep) -> None:
    lease = acquire(store, "demo", "me")
    first, second = publish_step(lease, 1), publish_step(lease, 2)
    head = read_head(store, "demo").head
    assert head
    assert (head.epoch, head.owner, head.commit) == (1, "me", second.commit)
    assert head.manifest_digest == digest_of(store.get(commit_key("demo", second.commit, MANIFEST)))
    assert (first.parent, second.parent) == (None, first.commit)
    assert position(second.commit) == (1, 0, "train", 2)


def test_acquiring_raises_the_epoch_and_keeps_the_commit(store: LocalStore, publish_step: PublishStep) -> None:
    commit = publish_step(acquire(store, "demo", "me"), 1).commit
    assert acquire(store, "demo", "you").epoch == 2
    head = read_head(store, "demo").head
    assert head
    assert (head.epoch, head.owner, head.commit) == (2, "you", commit)
    assert store.list("runs/demo/epochs") == ["runs/demo/epochs/1/lease.json", "runs/demo/epochs/2/lease.json"]


def test_a_fenced_writer_stops_and_changes_nothing(store: LocalStore, publish_step: PublishStep) -> None:
    old = acquire(store, "demo", "old")
    publish_step(old, 1)
    new = acquire(store, "demo", "new")
    before = {key: store.get(key) for key in store.list("")}
    with pytest.raises(Fenced, match=r"belongs to another writer now \(epoch 2, «new»\)"):
        publish_step(old, 2)
    assert {key: store.get(key) for key in store.list("")} == before
    assert publish_step(new, 2).epoch == 2


def test_a_writer_fenced_during_its_upload_deletes_nothing_and_is_never_resumed_from(
    store: LocalStore, publish_step: PublishStep, tmp_path: Path
) -> None:
    class Overtaken(LocalStore):
        """Another writer comes between this writer's manifest and its move of the head."""

        def compare_and_set(self, key: str, expected: bytes | None, new: bytes) -> None:
            acquire(store, "demo", "new")
            super().compare_and_set(key, expected, new)

    old = acquire(store, "demo", "old")
    kept = publish_step(old, 1)
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "file").touch()
    with pytest.raises(Fenced):
        publish(Overtaken(store.root), old, round_number=0, stage="train", step=2, folder=tmp_path / "late")
    assert sum(key.endswith(MANIFEST) for key in store.list("runs/demo/commits/")) == 2
    assert resume(store, "demo", 0, "train", tmp_path / "back").manifest == kept


def test_an_owner_that_races_itself_meets_a_conflict(store: LocalStore, publish_step: PublishStep) -> None:
    class Doubled(LocalStore):
        """The same owner moves the head from a second place."""

        def compare_and_set(self, key: str, expected: bytes | None, new: bytes) -> None:
            advance(store, lease, read_head(store, "demo"), {"owner": "me, elsewhere"})
            super().compare_and_set(key, expected, new)

    lease = acquire(store, "demo", "me")
    publish_step(lease, 1)
    with pytest.raises(Conflict):
        advance(Doubled(store.root), lease, read_head(store, "demo"), {})


def test_two_owners_of_one_name_are_told_apart(store: LocalStore, publish_step: PublishStep) -> None:
    twin = acquire(store, "demo", "same name")
    acquire(store, "demo", "same name")
    with pytest.raises(Fenced):
        publish_step(twin, 1)


def test_a_folder_with_a_manifest_of_its_own_is_refused(store: LocalStore, tmp_path: Path) -> None:
    lease = acquire(store, "demo", "me")
    (tmp_path / MANIFEST).touch()
    with pytest.raises(ValueError, match="which only a commit may have"):
        publish(store, lease, round_number=0, stage="train", step=1, folder=tmp_path)
    assert store.list("runs/demo/commits/") == []


def test_a_run_name_that_leaves_the_store_is_refused(store: LocalStore) -> None:
    with pytest.raises(InputError, match=r"«runs/../demo/HEAD»"):
        acquire(store, "../demo", "me")


def test_a_damaged_head_is_named(store: LocalStore) -> None:
    acquire(store, "demo", "me")
    (store.root / "runs/demo/HEAD").write_bytes(b"{")
    with pytest.raises(Corrupt, match="runs/demo/HEAD is not a valid Head"):
        acquire(store, "demo", "me")


def test_a_head_of_a_newer_program_asks_for_it(store: LocalStore) -> None:
    acquire(store, "demo", "me")
    (store.root / "runs/demo/HEAD").write_bytes(b'{"schema": 2}')
    with pytest.raises(InputError, match="has schema 2, this program reads up to 1; install the newer tsgb"):
        acquire(store, "demo", "me")
