"""The written contract with storage is what the records say, and both agree on every example."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from tsgb.checkpoints.schemas import STORED, render

CONTRACT = Path(__file__).parents[2] / "checkpoints_schema"
VALID = sorted(CONTRACT.glob("v1/valid/*.json"))
INVALID = sorted(CONTRACT.glob("v1/invalid/*.json"))


def kind_of(example: Path) -> str:
    return example.stem.partition("-")[0]


def schema_of(example: Path) -> jsonschema.Draft202012Validator:
    schema = json.loads((CONTRACT / f"v1/{kind_of(example)}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", render())
def test_the_schemas_are_those_of_the_records(name: str, matches_file: Callable[[str, Path], None]) -> None:
    matches_file(render()[name], CONTRACT / name)


def test_no_schema_is_left_over_and_each_has_examples_of_both_kinds() -> None:
    assert {path.relative_to(CONTRACT).as_posix() for path in CONTRACT.glob("v*/*.schema.json")} == set(render())
    assert {kind_of(path) for path in VALID} == set(STORED)
    assert {kind_of(path) for path in INVALID} == set(STORED)


@pytest.mark.parametrize("example", VALID, ids=lambda path: path.stem)
def test_a_valid_example_is_accepted_and_survives_a_trip_through_its_record(example: Path) -> None:
    kind = STORED[kind_of(example)]
    schema_of(example).validate(json.loads(example.read_text(encoding="utf-8")))
    record = kind.model_validate_json(example.read_bytes())
    schema_of(example).validate(json.loads(record.model_dump_json()))
    assert kind.model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize("example", INVALID, ids=lambda path: path.stem)
def test_an_invalid_example_is_refused_by_schema_and_record_alike(example: Path) -> None:
    with pytest.raises(jsonschema.ValidationError):
        schema_of(example).validate(json.loads(example.read_text(encoding="utf-8")))
    with pytest.raises(ValidationError):
        STORED[kind_of(example)].model_validate_json(example.read_bytes())
