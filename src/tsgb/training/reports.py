"""What every step of a training saw, kept beside the state that it led to.

    reports_{name}.jsonl      one JSON object a step, in order

Promises: numbers come back as they were, to the last bit; a file with another number of steps than its state is
refused. Leaves out: what is reported, which is the trainer's business, and where the file is stored.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tsgb.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Report = TypeVar("Report", bound="DataclassInstance")


def dump_reports(reports: Sequence[DataclassInstance]) -> bytes:
    """Reports as JSON lines; the same reports always make the same bytes."""
    return b"".join(json.dumps(asdict(report)).encode() + b"\n" for report in reports)


def save_reports(reports: Sequence[DataclassInstance], folder: Path, *, name: str) -> None:
    """Write the reports of all steps so far into an existing folder."""
    _file(folder, name).write_bytes(dump_reports(reports))


def load_reports(kind: type[Report], folder: Path, *, name: str, steps: int) -> list[Report]:
    """Read the reports of `steps` finished steps back; raises `InputError` when they are not exactly that."""
    file = _file(folder, name)
    try:
        reports = [kind(**json.loads(line)) for line in file.read_bytes().splitlines()]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{folder} holds no whole training state ({error}); restore an earlier checkpoint.") from error
    if len(reports) != steps:
        raise InputError(
            f"{folder} holds no whole training state ({file.name} tells of {len(reports)} steps, {steps} were taken); "
            "restore an earlier checkpoint."
        )
    return reports


def _file(folder: Path, name: str) -> Path:
    return folder / f"reports_{name}.jsonl"
