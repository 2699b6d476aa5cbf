"""What does not fit the contract with storage never leaves, and what does not fit is not read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tsgb.checkpoints import Journal, acquire, publish
from tsgb.checkpoints.encoding import decode, digest_of
from tsgb.errors import Corrupt, InputError
from tsgb.records.run import Lease, Manifest, StageRecord
from tsgb.records.training import TrainerState
from tsgb.storage import LocalStore

PLACE = {"round_number": 0, "stage": "train", "step": 1}
ROLE = {"digest": "d", "steps": 1, "adam_steps": 1, "learning_rates": [0.1], "tensors": "0" * 64}
STATE = {"schema": 1, "roles": {"guard": ROLE | {"rng": {"seed": 1, "scheme": "s"}}}}


def folder_with(tmp_path: Path, name: str, content: object) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / name).write_text(json.dumps(content))
    return folder


def test_a_trainer_state_that_fits_is_published(store: LocalStore, tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "trainer_state.json", STATE)
    assert list(publish(store, acquire(store, "demo", "me"), folder=folder, **PLACE).files) == ["trainer_state.json"]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (STATE | {"roles": {}}, "trainer_state.json is not a valid TrainerState: roles: "),
        (STATE | {"roles": {"guard": ROLE}}, "roles.guard.rng: Field required"),
        (STATE | {"token": "hush"}, "token: Extra inputs are not permitted"),
        ({"roles": STATE["roles"]}, "schema: Field required"),
    ],
)
def test_a_trainer_state_that_does_not_fit_never_leaves(
    store: LocalStore, tmp_path: Path, state: object, said: str
) -> None:
    folder = folder_with(tmp_path, "trainer_state.json", state)
    lease = acquire(store, "demo", "me")
    with pytest.raises(Corrupt, match=said):
        publish(store, lease, folder=folder, **PLACE)
    assert store.list("runs/demo/commits/") == []


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("weights", {"stage": "train/er"}),
        ("weights", {"step": -1}),
        ("weights", {"data": {"token": "hush, this is no digest"}}),
        ("our weights", {}),
    ],
)
def test_a_manifest_that_does_not_fit_never_leaves(
    store: LocalStore, tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    folder = folder_with(tmp_path, name, {})
    lease = acquire(store, "demo", "me")
    with pytest.raises(ValidationError):
        publish(store, lease, folder=folder, **PLACE | changes)
    assert store.list("runs/demo/commits/") == []


def test_no_text_of_a_manifest_is_free_so_no_secret_finds_room_in_it() -> None:
    schema = Manifest.model_json_schema(by_alias=True)
    mappings = [node for node in nodes(schema) if node.get("type") == "object"]
    texts = [node for node in nodes(schema) if node.get("type") == "string"]
    assert len(texts) == 7
    assert all("pattern" in text for text in texts)
    assert all(mapping["additionalProperties"] is False for mapping in mappings)
    for text in ("https://user:key@host", "Bearer abc", "-----BEGIN KEY-----", "a=b&c", "key with spaces"):
        with pytest.raises(ValidationError):
            Manifest(**manifest_fields(stage=text))
        with pytest.raises(ValidationError):
            Manifest(**manifest_fields(versions={"torch": text}))


def test_a_field_that_a_reader_does_not_know_is_refused_by_its_name() -> None:
    lease = {"schema": 1, "run": "demo", "epoch": 1, "owner": "me", "nonce": "0" * 8, "heartbeat": 3}
    with pytest.raises(Corrupt, match="heartbeat: Extra inputs are not permitted"):
        decode(Lease, json.dumps(lease).encode(), "lease.json")


def test_a_new_name_in_an_open_mapping_is_kept(store: LocalStore) -> None:
    Journal(store, "demo").finish(0, "train", {"commit": None, "of_a_later_program": [1, {"a": 2}]})
    assert Journal(store, "demo").done(0, "train") == {"commit": None, "of_a_later_program": [1, {"a": 2}]}


@pytest.mark.parametrize("kind", [Lease, Manifest, StageRecord, TrainerState])
def test_a_document_of_a_newer_version_is_refused_whatever_else_it_says(kind: type[Any]) -> None:
    with pytest.raises(InputError, match="it.json has schema 2, this program reads up to 1; install the newer tsgb"):
        decode(kind, b'{"schema": 2, "all": "new"}', "it.json")


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema inside a schema; one that a number or a constant bounds is not a text."""
    if isinstance(schema, dict):
        yield schema
    for child in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from nodes(child)


def manifest_fields(**changes: Any) -> dict[str, Any]:
    numbers = {"schema": 1, "round": 0, "step": 0, "epoch": 1}
    return {**numbers, "run": "demo", "nonce": digest_of(b"")[:8], "parent": None, "files": {}, "stage": "x", **changes}
