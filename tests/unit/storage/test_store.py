"""What every store promises, whatever keeps its bytes."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tsgb.errors import Conflict, InputError, Missing
from tsgb.storage import LocalStore, Store

FORK = multiprocessing.get_context("fork")
NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.=+-]{0,20}", fullmatch=True)
KEYS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


def winners_of(rounds: int, attempt: Callable[[int, int], bool]) -> list[list[int]]:
    """Let two processes attempt the same thing at the same moment, and say who succeeded in each round."""
    start, results = FORK.Barrier(2), FORK.SimpleQueue()

    def race(racer: int) -> None:
        won: list[int] = []
        try:
            for number in range(rounds):
                start.wait(timeout=30)
                won += [number] if attempt(racer, number) else []
        finally:
            results.put((racer, won))

    racers = [FORK.Process(target=race, args=(racer,)) for racer in range(2)]
    for process in racers:
        process.start()
    winners: list[list[int]] = [[] for _ in range(rounds)]
    for racer, won in (results.get() for _ in racers):
        for number in won:
            winners[number].append(racer)
    for process in racers:
        process.join()
    assert [process.exitcode for process in racers] == [0, 0]
    return winners


def rounds_of(store: Store) -> int:
    """How often two race: a disk is quicker than a server."""
    return 100 if isinstance(store, LocalStore) else 20


def test_bytes_come_back_as_they_were_put(store: Store) -> None:
    store.put_new("runs/demo/data", b"\x00\xff")
    assert store.get("runs/demo/data") == b"\x00\xff"
    assert store.exists("runs/demo/data")


def test_files_come_back_as_they_were_put(store: Store, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(bytes(range(256)) * 5000)
    store.put_file("runs/demo/file", tmp_path / "source")
    store.get_file("runs/demo/file", tmp_path / "new folder" / "copy")
    assert (tmp_path / "new folder" / "copy").read_bytes() == (tmp_path / "source").read_bytes()
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["copy"]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(key=KEYS, data=st.binary(max_size=64))
def test_any_key_of_plain_names_can_be_put_found_and_deleted(store: Store, key: str, data: bytes) -> None:
    store.put_new(key, data)
    assert store.get(key) == data
    assert store.list("") == [key]
    assert store.list(key[:-1]) == [key]
    store.delete(key)
    assert store.list("") == []
    assert not store.exists(key)


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../up", "a/../b", "a//b", "a/", ".hidden", "a b", "a\n", "é", "a\\b"]
)
def test_keys_that_could_leave_the_store_are_refused_by_name(store: Store, key: str) -> None:
    with pytest.raises(InputError, match="cannot name a stored object"):
        store.put_new(key, b"")


def test_a_range_is_a_part_of_the_bytes(store: Store) -> None:
    store.put_new("key", b"0123456789")
    assert store.get("key", 2, 5) == b"234"
    assert store.get("key", 7) == b"789"
    assert [store.get("key", 8, 20), store.get("key", 20), store.get("key", 5, 5)] == [b"89", b"", b""]


def test_a_download_is_watched_chunk_by_chunk_in_order(store: Store, tmp_path: Path) -> None:
    content = bytes(range(251)) * 20_000
    (tmp_path / "source").write_bytes(content)
    store.put_files({"run/big": tmp_path / "source", "run/small": Path(__file__)})
    seen: list[bytes] = []
    store.get_file("run/big", tmp_path / "copy", seen.append)
    assert len(seen) > 1
    assert b"".join(seen) == (tmp_path / "copy").read_bytes() == content
    assert store.get("run/small") == Path(__file__).read_bytes()


def test_the_store_is_found_to_fence_and_nothing_of_the_trial_is_left(store: Store) -> None:
    store.probe()
    assert store.list("") == []


def test_what_is_not_there_is_missing(store: Store, tmp_path: Path) -> None:
    store.put_new("a/b", b"")
    for key in ("c", "a", "a/b/c"):
        with pytest.raises(Missing, match=f"there is no «{key}»"):
            store.get(key)
        with pytest.raises(Missing):
            store.get_file(key, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_name_is_written_once_and_the_same_bytes_may_come_again(store: Store, tmp_path: Path) -> None:
    (tmp_path / "same").write_bytes(b"first")
    (tmp_path / "other").write_bytes(b"other")
    store.put_new("key", b"first")
    store.put_new("key", b"first")
    store.put_file("key", tmp_path / "same")
    with pytest.raises(Conflict):
        store.put_new("key", b"other")
    with pytest.raises(Conflict):
        store.put_file("key", tmp_path / "other")
    assert store.get("key") == b"first"


def test_a_key_below_or_above_a_taken_one_is_a_conflict_or_stands_beside_it(store: Store) -> None:
    store.put_new("a/b", b"first")
    for key in ("a/b/c", "a"):
        with suppress(Conflict):
            store.put_new(key, b"second")
    assert store.get("a/b") == b"first"


def test_swap_replaces_only_the_bytes_that_were_seen(store: Store) -> None:
    with pytest.raises(Conflict):
        store.compare_and_set("HEAD", b"never there", b"1")
    store.compare_and_set("HEAD", None, b"1")
    with pytest.raises(Conflict):
        store.compare_and_set("HEAD", None, b"2")
    with pytest.raises(Conflict):
        store.compare_and_set("HEAD", b"stale", b"2")
    store.compare_and_set("HEAD", b"1", b"2")
    assert store.get("HEAD") == b"2"


def test_list_is_sorted_and_a_prefix_may_end_within_a_name(store: Store) -> None:
    for key in ("b/2", "a/10", "a/1", "ab"):
        store.put_new(key, b"")
    assert store.list("") == ["a/1", "a/10", "ab", "b/2"]
    assert store.list("a") == ["a/1", "a/10", "ab"]
    assert store.list("a/") == ["a/1", "a/10"]
    assert store.list("nowhere/") == []


def test_deleting_twice_is_fine(store: Store) -> None:
    store.put_new("a/b", b"")
    store.delete("a/b")
    store.delete("a/b")
    assert store.list("") == []


def test_of_two_creators_exactly_one_wins(store: Store) -> None:
    def create(racer: int, number: int) -> bool:
        try:
            store.put_new(f"race/{number}", b"by %d" % racer)
        except Conflict:
            return False
        return True

    winners = winners_of(rounds_of(store), create)
    assert [store.get(f"race/{number}") for number in range(len(winners))] == [b"by %d" % only for (only,) in winners]


def test_of_two_swappers_exactly_one_wins(store: Store) -> None:
    def move(racer: int, number: int) -> bool:
        key = f"HEAD{number // 10}"
        seen = None if number % 10 == 0 else store.get(key)
        if seen is not None and seen.startswith(b"%d by" % number):
            return False
        try:
            store.compare_and_set(key, seen, b"%d by %d" % (number, racer))
        except Conflict:
            return False
        return True

    winners = winners_of(rounds_of(store), move)
    assert [len(names) for names in winners] == [1] * len(winners)


def test_a_writer_is_not_disturbed_by_one_that_keeps_deleting_in_its_folder(store: Store) -> None:
    def write_or_delete(racer: int, number: int) -> bool:
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            if racer == 0:
                store.put_new("folder/below/key", b"bytes")
                assert store.get("folder/below/key") == b"bytes"
                store.delete("folder/below/key")
            else:
                store.delete("folder/below/nothing")
        return True

    assert [sorted(names) for names in winners_of(5, write_or_delete)] == [[0, 1]] * 5
    assert store.list("") == []
