"""Real writers are killed, raced and starved of space; a whole commit is always there."""

from __future__ import annotations

import multiprocessing
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tsgb.checkpoints import acquire, fetch, publish, resume
from tsgb.checkpoints.heads import read_head
from tsgb.checkpoints.layout import MANIFEST, commit_key
from tsgb.errors import Fenced, NoSpace
from tsgb.records.run import Lease
from tsgb.storage import LocalStore

FORK = multiprocessing.get_context("fork")
KILLS = 30
FILES = ("adapter.safetensors", "optimizer.safetensors", "reports.jsonl")


def write_state(folder: Path, step: int) -> None:
    for name in FILES:
        (folder / name).write_bytes(f"{name} {step} ".encode() * 3000)


def train(store: LocalStore, working: Any) -> None:
    """Resume, check what was resumed, and publish step after step for as long as one lives."""
    lease = acquire(store, "demo", "trainer")
    with TemporaryDirectory() as folder:
        manifest, skipped = resume(store, "demo", 0, "train", Path(folder))
        assert not skipped
        step = manifest.step if manifest else 0
        working.set()
        while True:
            step += 1
            write_state(Path(folder), step)
            publish(store, lease, round_number=0, stage="train", step=step, folder=Path(folder))


def kill_a_trainer(store: LocalStore, after_s: float) -> None:
    working = FORK.Event()
    trainer = FORK.Process(target=train, args=(store, working))
    trainer.start()
    assert working.wait(timeout=30)
    time.sleep(after_s)
    assert trainer.is_alive()
    trainer.kill()
    trainer.join()


def seconds_of_a_commit(store: LocalStore, tmp_path: Path) -> float:
    """How long a commit takes here and now, so that kills fall inside and behind the first few of a writer."""
    lease, folder = acquire(store, "other", "me"), tmp_path / "state"
    folder.mkdir()
    write_state(folder, 0)
    began = time.monotonic()
    publish(store, lease, round_number=0, stage="train", step=0, folder=folder)
    return time.monotonic() - began


def torn_commits(store: LocalStore) -> int:
    """How many folders of commits hold no manifest."""
    folders = [path for path in (store.root / "runs/demo/commits").glob("*/*") if path.is_dir()]
    return sum(not (path / MANIFEST).exists() for path in folders)


def test_whenever_a_writer_is_killed_the_head_names_a_whole_commit_and_never_an_older_one(
    store: LocalStore, tmp_path: Path
) -> None:
    moments, step, commit_s = random.Random(0), 0, seconds_of_a_commit(store, tmp_path)
    for _ in range(KILLS):
        kill_a_trainer(store, after_s=moments.uniform(0, 4 * commit_s))
        head = read_head(store, "demo").head
        manifest, skipped = resume(store, "demo", 0, "train", tmp_path / "back")
        assert head
        assert head.commit == (manifest.commit if manifest else None)
        assert skipped == ()
        if manifest:
            assert manifest.step >= step
            step = manifest.step
            write_state(tmp_path, step)
            assert all((tmp_path / name).read_bytes() == (tmp_path / "back" / name).read_bytes() for name in FILES)
    assert step > 0
    assert torn_commits(store) > 0, "no writer was killed in the middle of a commit"


def test_of_two_trainers_at_once_all_but_the_last_to_come_are_fenced(store: LocalStore, tmp_path: Path) -> None:
    fenced, lost = FORK.SimpleQueue(), list[int]()

    def train_until_fenced(folder: Path) -> None:
        lease = acquire(store, "demo", folder.name)
        try:
            for step in range(3):
                write_state(folder, step)
                publish(store, lease, round_number=0, stage="train", step=step, folder=folder)
        except Fenced:
            lost.append(lease.epoch)

    def contend(name: str) -> None:
        (tmp_path / name).mkdir()
        try:
            for _ in range(5):
                train_until_fenced(tmp_path / name)
        finally:
            fenced.put(lost)

    contenders = [FORK.Process(target=contend, args=(name,)) for name in ("a", "b")]
    for contender in contenders:
        contender.start()
    epochs = [epoch for _ in contenders for epoch in fenced.get()]
    for contender in contenders:
        contender.join()
    head = read_head(store, "demo").head
    assert head
    assert [contender.exitcode for contender in contenders] == [0, 0]
    assert head.epoch == 10
    assert len(set(epochs)) == len(epochs)
    assert 10 not in epochs
    assert chain_epochs(store, head.commit) == sorted(chain_epochs(store, head.commit), reverse=True)


def chain_epochs(store: LocalStore, commit: str | None) -> list[int]:
    """Epochs of all commits from the head back to the first, each of them fetched whole."""
    epochs = []
    while commit:
        with TemporaryDirectory() as folder:
            manifest = fetch(store, "demo", commit, Path(folder))
        epochs.append(manifest.epoch)
        commit = manifest.parent
    return epochs


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_on_a_full_disk_all_that_was_committed_is_whole_and_more_space_cures(small_disk: Path, tmp_path: Path) -> None:
    store = LocalStore(small_disk / "store")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "adapter.safetensors").write_bytes(bytes(300_000))
    lease = acquire(store, "demo", "me")
    commits = [publish_state(store, lease, tmp_path) for _ in range(3)]
    with pytest.raises(NoSpace, match=r"no space left to write .*adapter.safetensors: free some"):
        publish_state(store, lease, tmp_path)
    for commit in commits:
        fetch(store, "demo", commit, tmp_path / "back")
    assert not list(small_disk.rglob(".tmp-*"))
    store.delete(commit_key("demo", commits[0], "adapter.safetensors"))
    assert publish_state(store, lease, tmp_path)


def publish_state(store: LocalStore, lease: Lease, tmp_path: Path) -> str:
    return publish(store, lease, round_number=0, stage="train", step=1, folder=tmp_path / "state").commit
