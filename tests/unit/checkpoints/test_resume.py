"""A run goes on from its newest whole commit, and says what it had to skip."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tsgb.checkpoints import acquire, fetch, latest, publish, resume, retain
from tsgb.checkpoints.layout import MANIFEST, commit_key
from tsgb.checkpoints.manifest import read_manifest
from tsgb.errors import Corrupt
from tsgb.records.run import Manifest
from tsgb.storage import LocalStore

from .conftest import PublishStep


def flip(path: Path, byte: int) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1 << byte % 8
    path.write_bytes(content)


def path_of(store: LocalStore, manifest: Manifest, name: str) -> Path:
    return store.root / commit_key(manifest.run, manifest.commit, name)


def test_a_stage_without_commits_begins_at_its_beginning(store: LocalStore, publish_step: PublishStep) -> None:
    assert latest(store, "demo", 0, "train") == (None, ())
    publish_step(acquire(store, "demo", "me"), 1)
    assert latest(store, "demo", 1, "train") == (None, ())
    assert latest(store, "demo", 0, "attack") == (None, ())


def test_each_stage_of_each_round_has_its_own_newest_commit(store: LocalStore, publish_step: PublishStep) -> None:
    lease = acquire(store, "demo", "me")
    first = publish_step(lease, 9, "train", 0)
    attack = publish_step(lease, 5, "attack", 0)
    second = publish_step(lease, 1, "train", 1)
    assert latest(store, "demo", 0, "train") == (first, ())
    assert latest(store, "demo", 0, "attack") == (attack, ())
    assert latest(store, "demo", 1, "train") == (second, ())


@pytest.mark.parametrize("name", ["adapter.safetensors", "optim/moments.safetensors", MANIFEST])
def test_any_flipped_bit_sends_resume_to_the_parent_and_is_said(
    store: LocalStore, publish_step: PublishStep, tmp_path: Path, name: str
) -> None:
    lease = acquire(store, "demo", "me")
    parent, newest = publish_step(lease, 1), publish_step(lease, 2)
    path = path_of(store, newest, name)
    for byte in range(0, path.stat().st_size, 9):
        flip(path, byte)
        manifest, skipped = resume(store, "demo", 0, "train", tmp_path / "back")
        assert manifest == parent, byte
        assert [newest.commit in sentence for sentence in skipped] == [True], byte
        flip(path, byte)
        for key in store.list("runs/demo/quarantine/"):
            store.delete(key)
    assert latest(store, "demo", 0, "train") == (newest, ())


def test_a_damaged_file_is_named_with_what_was_expected_and_found(
    store: LocalStore, publish_step: PublishStep, tmp_path: Path
) -> None:
    commit = publish_step(acquire(store, "demo", "me"), 1)
    path = path_of(store, commit, "adapter.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    promised = commit.files["adapter.safetensors"].blake3
    with pytest.raises(Corrupt, match=rf"adapter.safetensors should be 180 bytes, blake3 {promised}, but is 179 bytes"):
        fetch(store, "demo", commit.commit, tmp_path / "back")
    assert list((tmp_path / "back").iterdir()) == []


@pytest.mark.parametrize("name", ["adapter.safetensors", MANIFEST])
def test_a_missing_file_sends_resume_to_the_parent(store: LocalStore, publish_step: PublishStep, name: str) -> None:
    lease = acquire(store, "demo", "me")
    parent, newest = publish_step(lease, 1), publish_step(lease, 2)
    path_of(store, newest, name).unlink()
    manifest, skipped = latest(store, "demo", 0, "train")
    assert manifest == parent
    assert len(skipped) == 1
    assert name in skipped[0]


def test_another_commits_manifest_is_no_substitute(store: LocalStore, publish_step: PublishStep) -> None:
    lease = acquire(store, "demo", "me")
    first, second, third = (publish_step(lease, step) for step in (1, 2, 3))
    shutil.copy(path_of(store, first, MANIFEST), path_of(store, third, MANIFEST))
    manifest, skipped = latest(store, "demo", 0, "train")
    assert manifest == second
    assert [third.commit in sentence for sentence in skipped] == [True]
    shutil.copy(path_of(store, first, MANIFEST), path_of(store, second, MANIFEST))
    with pytest.raises(Corrupt, match=f"should describe demo/{second.commit}, but describes demo/{first.commit}"):
        read_manifest(store, "demo", second.commit)


def test_training_goes_on_after_a_damaged_commit(store: LocalStore, publish_step: PublishStep) -> None:
    lease = acquire(store, "demo", "me")
    publish_step(lease, 1)
    flip(path_of(store, publish_step(lease, 2), MANIFEST), 30)
    again = publish_step(acquire(store, "demo", "me"), 2)
    assert latest(store, "demo", 0, "train") == (again, ())


def test_a_chain_ends_quietly_where_retention_cut_it(store: LocalStore, publish_step: PublishStep) -> None:
    lease = acquire(store, "demo", "me")
    kept = [publish_step(lease, step) for step in range(4)][-2:]
    retain(store, lease, keep_last=2)
    assert latest(store, "demo", 0, "train") == (kept[1], ())
    assert latest(store, "demo", 0, "attack") == (None, ())
    path_of(store, kept[1], "adapter.safetensors").unlink()
    assert latest(store, "demo", 0, "train").manifest == kept[0]


def test_a_whole_commit_that_was_never_announced_is_not_resumed_from(
    store: LocalStore, publish_step: PublishStep, tmp_path: Path
) -> None:
    class Killed(LocalStore):
        """The writer dies between its manifest and its move of the head."""

        def compare_and_set(self, key: str, expected: bytes | None, new: bytes) -> None:
            raise KeyboardInterrupt

    lease = acquire(store, "demo", "me")
    (tmp_path / "state").mkdir()
    with pytest.raises(KeyboardInterrupt):
        publish(Killed(store.root), lease, round_number=0, stage="train", step=1, folder=tmp_path / "state")
    assert len(store.list("runs/demo/commits/")) == 1
    assert latest(store, "demo", 0, "train") == (None, ())
