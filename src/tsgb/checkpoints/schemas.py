"""The written contract with storage, generated from the records: one JSON Schema for each kind of stored object.

A test compares them with `checkpoints_schema/`; `pytest tests/contract/test_schemas.py --renew` writes them anew.
"""

from __future__ import annotations

import json

from tsgb.records.base import Record
from tsgb.records.dialogue import Trajectory
from tsgb.records.report import RoundReport, TransferReport
from tsgb.records.run import SCHEMA, Head, Lease, Manifest, Pin, Quarantine, RunRecord, ShardRecord, StageRecord
from tsgb.records.training import Example, TrainerState

STORED: dict[str, type[Record]] = {
    "run": RunRecord,
    "head": Head,
    "lease": Lease,
    "manifest": Manifest,
    "pin": Pin,
    "quarantine": Quarantine,
    "stage": StageRecord,
    "shard": ShardRecord,
    "trainer_state": TrainerState,
    "trajectory": Trajectory,
    "set_example": Example,
    "round_report": RoundReport,
    "transfer_report": TransferReport,
}
"""What is stored, by the name of its schema.

Trajectories and set examples are lines of blobs, a round report is what the record of the stage `gates` holds.
"""


def render() -> dict[str, str]:
    """Return the text of every schema by its path inside `checkpoints_schema`."""
    return {f"v{SCHEMA}/{name}.schema.json": _schema(kind) for name, kind in STORED.items()}


def _schema(kind: type[Record]) -> str:
    content = {"$schema": "https://json-schema.org/draft/2020-12/schema", **kind.model_json_schema(by_alias=True)}
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
