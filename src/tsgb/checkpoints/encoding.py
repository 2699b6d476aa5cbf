"""One way to write a record as bytes and one way to read it back.

Equal records give equal bytes (sorted keys), which create-only writes and compare-and-set rely on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from blake3 import blake3
from pydantic import ValidationError

from tsgb.errors import Corrupt, InputError
from tsgb.records.base import first_problem
from tsgb.records.run import SCHEMA, SealedRecord, StoredRecord

AnyRecord = TypeVar("AnyRecord", bound=StoredRecord)
AnySealed = TypeVar("AnySealed", bound=SealedRecord)


def encode(record: StoredRecord) -> bytes:
    """Write a record as JSON for people and programs; raises ValueError for NaN and infinity."""
    text = json.dumps(record.model_dump(), sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False)
    return f"{text}\n".encode()


def decode(kind: type[AnyRecord], data: bytes, key: str) -> AnyRecord:
    """Read a record back; raises InputError for one of a newer program, Corrupt for anything else that does not fit."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        version = _version(data)
        if version > SCHEMA:
            cure = "install the newer tsgb that wrote it"
            raise InputError(f"{key} has schema {version}, this program reads up to {SCHEMA}; {cure}.") from None
        raise Corrupt(f"{key} is not a valid {kind.__name__}: {first_problem(error)}.") from None


def sealed(record: AnySealed) -> AnySealed:
    """The record with its checksum."""
    return record.model_copy(update={"checksum": _checksum(record)})


def is_intact(record: SealedRecord) -> bool:
    """Say whether a record that was read has the checksum that it was written with."""
    return record.checksum == _checksum(record)


def digest_of(data: bytes) -> str:
    """Return the BLAKE3 of some bytes, in hexadecimal."""
    return blake3(data).hexdigest()


def digest_of_file(path: Path) -> str:
    """Return the BLAKE3 of a file, in hexadecimal, without loading it whole."""
    return blake3().update_mmap(path).hexdigest() if path.stat().st_size else digest_of(b"")


def _checksum(record: SealedRecord) -> str:
    return digest_of(encode(record.model_copy(update={"checksum": ""})))


def _version(data: bytes) -> int:
    """Find the schema number of a record that could not be read; 0 if there is none."""
    try:
        content = json.loads(data)
    except ValueError:
        return 0
    version = content.get("schema") if isinstance(content, dict) else None
    return version if isinstance(version, int) else 0
