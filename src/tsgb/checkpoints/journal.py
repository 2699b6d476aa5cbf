"""Which stages of a run are done: those whose record is in storage, and nothing else is remembered.

A stage computes the same outputs whenever it runs on the same inputs, so to finish it twice is harmless, and to finish
it with other outputs is a Conflict that must not be hidden. What is large goes to blobs; records name their digests.
"""

from __future__ import annotations

from typing import Any

from tsgb.checkpoints.blobs import put_blob
from tsgb.checkpoints.encoding import decode, encode, is_intact, sealed
from tsgb.checkpoints.layout import shard_key, stage_key
from tsgb.errors import Conflict, Corrupt, Missing
from tsgb.records.run import SCHEMA, ShardRecord, StageRecord, StoredRecord
from tsgb.storage import Store


class Journal:
    """The done stages and shards of one run."""

    def __init__(self, store: Store, run: str) -> None:
        self.store = store
        self.run = run

    def done(self, round_number: int, stage: str) -> dict[str, Any] | None:
        """Return the outputs of a stage, or None if it is not done; raises Corrupt if its record is damaged."""
        key = stage_key(self.run, round_number, stage)
        try:
            record = decode(StageRecord, self.store.get(key), key)
        except Missing:
            return None
        if record.checksum and not is_intact(record):  # early records have none
            raise Corrupt(f"{key} is damaged: its checksum does not fit; delete it, and the stage is done again.")
        return record.outputs

    def finish(self, round_number: int, stage: str, outputs: dict[str, Any]) -> None:
        """Record that a stage is done; raises Conflict if it was finished with other outputs."""
        record = StageRecord(schema=SCHEMA, round=round_number, stage=stage, outputs=outputs)
        self._put(stage_key(self.run, round_number, stage), sealed(record))

    def shard_done(self, round_number: int, stage: str, shard: int) -> str | None:
        """Return the digest of a part of a stage, to be read with `get_blob`, or None if it is not done."""
        key = shard_key(self.run, round_number, stage, shard)
        try:
            return decode(ShardRecord, self.store.get(key), key).blob
        except Missing:
            return None

    def finish_shard(self, round_number: int, stage: str, shard: int, data: bytes) -> str:
        """Keep the content of a part of a stage, record it as done and return its digest; Conflict as in `finish`."""
        blob = put_blob(self.store, self.run, data)
        record = ShardRecord(schema=SCHEMA, round=round_number, stage=stage, shard=shard, blob=blob, size=len(data))
        self._put(shard_key(self.run, round_number, stage, shard), record)
        return blob

    def _put(self, key: str, record: StoredRecord) -> None:
        try:
            self.store.put_new(key, encode(record))
        except Conflict as error:
            cure = "its inputs, seeds or versions have changed, so start another run"
            raise Conflict(f"{key} was finished before with other outputs: {cure}.") from error
