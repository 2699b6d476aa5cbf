"""A folder as a store: where it is, what a killed writer leaves, what a full or forbidden disk says."""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from pathlib import Path

import pytest

from tsgb.errors import Conflict, InputError, Missing, NoSpace, SettingsError
from tsgb.storage import LocalStore, open_store

FORK = multiprocessing.get_context("fork")


def temporary_files(root: Path) -> list[Path]:
    return list(root.rglob(".tmp-*"))


def write_until_killed(store: LocalStore) -> None:
    for number in range(10_000):
        store.put_new(f"folder/{number}", bytes(200_000))


def leave_unfinished(store: LocalStore) -> None:
    """Kill writers until one of them leaves a temporary file behind."""
    for attempt in range(100):
        writer = FORK.Process(target=write_until_killed, args=(LocalStore(store.root / str(attempt)),))
        writer.start()
        time.sleep(0.02)
        writer.kill()
        writer.join()
        if temporary_files(store.root):
            return
    pytest.fail("no writer was killed in the middle of a write")


@pytest.mark.parametrize("scheme", ["", "file://", "file://localhost"])
def test_a_store_is_opened_by_path_or_file_url(tmp_path: Path, scheme: str) -> None:
    open_store(f"{scheme}{tmp_path}/some/runs").put_new("key", b"bytes")
    assert (tmp_path / "some" / "runs" / "key").read_bytes() == b"bytes"


def test_a_file_url_may_have_escaped_characters(tmp_path: Path) -> None:
    open_store(f"file://{tmp_path}/my%20runs").put_new("key", b"bytes")
    assert (tmp_path / "my runs" / "key").exists()


@pytest.mark.parametrize("location", ["ftp://host/runs", "file://otherhost/runs"])
def test_an_unknown_scheme_is_refused_with_the_cure(location: str) -> None:
    with pytest.raises(SettingsError, match=rf"«{location}» is not supported; use a folder"):
        open_store(location)


def test_nothing_can_be_stored_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Conflict, match="taken by a file"):
        open_store(tmp_path / "file" / "runs").put_new("key", b"bytes")


def test_looking_creates_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "nope")
    assert (store.list(""), store.exists("runs/key"), store.sweep()) == ([], False, 0)
    with pytest.raises(Missing):
        store.get("runs/key")
    store.delete("runs/key")
    assert not (tmp_path / "nope").exists()
    store.compare_and_set("runs/key", None, b"bytes")
    assert store.get("runs/key") == b"bytes"


def test_what_a_killed_writer_leaves_is_never_listed_and_swept_by_age(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    leave_unfinished(store)
    assert all(len(store.get(key)) == 200_000 for key in store.list(""))
    assert store.sweep() == 0
    for path in temporary_files(tmp_path):
        os.utime(path, (0, 0))
    whole = store.list("")
    assert store.sweep() > 0
    assert temporary_files(tmp_path) == []
    assert store.list("") == whole


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put_new("key", b"first")
    with pytest.raises(Conflict):
        store.put_new("key", b"other")
    with pytest.raises(Conflict):
        store.compare_and_set("key", b"stale", b"other")
    with pytest.raises(FileNotFoundError):
        store.put_file("file", tmp_path / "no such source")
    assert temporary_files(tmp_path) == []


def test_a_file_over_the_limit_is_no_space_and_names_the_path(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put_new("small", b"whole")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(NoSpace, match=rf"no space left to write {tmp_path}/large: free some"):
            store.put_new("large", bytes(20_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert store.list("") == ["small"]
    assert temporary_files(tmp_path) == []


def test_a_folder_one_may_not_write_to_is_said_with_the_cure(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    said = FORK.SimpleQueue()

    def open_as_nobody() -> None:
        if os.geteuid() == 0:
            os.setuid(65534)
        try:
            LocalStore(tmp_path / "runs").put_new("key", b"bytes")
        except InputError as error:
            said.put(str(error))

    person = FORK.Process(target=open_as_nobody)
    person.start()
    person.join()
    assert not said.empty()
    assert f"{tmp_path}/runs/key cannot be written (Permission denied); choose a folder you may write to." == said.get()


def test_a_key_below_or_above_a_taken_one_is_a_conflict(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put_new("a/b", b"")
    for key in ("a/b/c", "a"):
        with pytest.raises(Conflict):
            store.put_new(key, b"")
