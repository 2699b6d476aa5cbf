"""A stage is done when its record is in storage; content is named by its digest; a run keeps its settings."""

from __future__ import annotations

import pytest

from tsgb.checkpoints import Journal, get_blob, open_run, put_blob
from tsgb.errors import Conflict, Corrupt, Missing, SettingsError
from tsgb.records.run import SCHEMA, RunRecord
from tsgb.storage import LocalStore


def run_record(settings: dict[str, object], versions: dict[str, str] | None = None, seed: int = 0) -> RunRecord:
    return RunRecord(schema=SCHEMA, run="demo", settings=settings, versions=versions or {}, seeds={"run": seed})


def test_a_stage_is_done_once_it_is_finished(store: LocalStore) -> None:
    journal = Journal(store, "demo")
    assert journal.done(0, "sets") is None
    journal.finish(0, "sets", {"breakers": 3, "loss": 0.1, "names": ["a", "é"]})
    assert Journal(store, "demo").done(0, "sets") == {"breakers": 3, "loss": 0.1, "names": ["a", "é"]}
    assert journal.done(1, "sets") is None
    assert Journal(store, "other").done(0, "sets") is None


def test_finishing_again_with_the_same_outputs_is_fine_in_any_order(store: LocalStore) -> None:
    journal = Journal(store, "demo")
    journal.finish(0, "sets", {"a": 1, "b": 2})
    journal.finish(0, "sets", {"b": 2, "a": 1})
    assert journal.done(0, "sets") == {"a": 1, "b": 2}


def test_finishing_again_with_other_outputs_is_a_conflict_that_names_the_stage(store: LocalStore) -> None:
    journal = Journal(store, "demo")
    journal.finish(2, "sets", {"a": 1})
    with pytest.raises(Conflict, match=r"rounds/2/sets.json was finished before with other outputs"):
        journal.finish(2, "sets", {"a": 2})
    assert journal.done(2, "sets") == {"a": 1}


def test_outputs_that_json_cannot_hold_are_refused(store: LocalStore) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        Journal(store, "demo").finish(0, "sets", {"loss": float("nan")})
    assert store.list("") == []


def test_a_shard_is_done_apart_from_its_stage(store: LocalStore) -> None:
    journal = Journal(store, "demo")
    digest = journal.finish_shard(0, "rollout", 1, b"trajectories")
    assert journal.finish_shard(0, "rollout", 1, b"trajectories") == digest
    assert journal.shard_done(0, "rollout", 1) == digest
    assert journal.shard_done(0, "rollout", 0) is None
    assert journal.done(0, "rollout") is None
    assert get_blob(store, "demo", digest) == b"trajectories"
    with pytest.raises(Conflict, match="shard-1.json"):
        journal.finish_shard(0, "rollout", 1, b"others")


def test_equal_content_is_kept_once(store: LocalStore) -> None:
    assert put_blob(store, "demo", b"same") == put_blob(store, "demo", b"same")
    assert len(store.list("runs/demo/data/blobs/")) == 1


def test_damaged_content_is_noticed_when_read_and_when_put_again(store: LocalStore) -> None:
    digest = put_blob(store, "demo", b"content")
    (store.root / "runs/demo/data/blobs" / digest).write_bytes(b"c0ntent")
    with pytest.raises(Corrupt, match=f"should have blake3 {digest}"):
        get_blob(store, "demo", digest)
    with pytest.raises(Corrupt, match="delete it and run the same command again"):
        put_blob(store, "demo", b"content")
    with pytest.raises(Missing):
        get_blob(store, "demo", "0" * 64)


def test_a_run_goes_on_under_the_same_settings_and_keeps_its_first_record(store: LocalStore) -> None:
    first = run_record({"training": {"steps": 10}}, versions={"torch": "2.6"})
    assert open_run(store, first) == first
    assert open_run(store, run_record({"training": {"steps": 10}}, versions={"torch": "2.7"})) == first


def test_other_settings_are_refused_naming_each_key_both_values_and_the_cure(store: LocalStore) -> None:
    open_run(store, run_record({"training": {"steps": 10, "rank": 8}, "name": "a", "old": True}))
    with pytest.raises(SettingsError) as refused:
        open_run(store, run_record({"training": {"steps": 20, "rank": 8}, "name": "b"}, seed=1))
    assert str(refused.value) == (
        'run «demo» was started with other settings: seeds.run was 0, now 1; name was "a", now "b"; '
        "old was true, now not set; training.steps was 10, now 20; "
        "set them back, or start another run under another name."
    )


def test_a_changed_number_in_the_record_of_a_stage_is_noticed(store: LocalStore) -> None:
    journal = Journal(store, "demo")
    journal.finish(0, "sets", {"loss": 0.25})
    path = store.root / "runs/demo/rounds/0/sets.json"
    path.write_bytes(path.read_bytes().replace(b"0.25", b"0.35"))
    with pytest.raises(Corrupt, match=r"rounds/0/sets.json is damaged: its checksum does not fit; delete it"):
        journal.done(0, "sets")
