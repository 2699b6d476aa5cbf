"""What a run leaves in storage as JSON: its settings, who may write, what a commit holds, which stages are done.

These records are the contract between program versions and machines: `checkpoints_schema/` holds them as JSON Schemas.
Every object names its `schema`, so that a reader can refuse what it does not understand. No times are stored: nothing
is decided by a clock, and an object written twice has the same bytes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from tsgb.records.base import Record

SCHEMA: Literal[1] = 1
"""Version of the stored records that this program writes."""

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.=+-]{0,199}"
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.=+-]{0,99}"
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Nonce = Annotated[str, Field(pattern=r"^[0-9a-f]{8,32}$")]
Name = Annotated[str, Field(pattern=rf"^{_NAME}$")]
Count = Annotated[int, Field(ge=0)]
FilePath = Annotated[str, Field(pattern=rf"^{_PART}(/{_PART})*$")]
CommitName = Annotated[str, Field(pattern=rf"^e[0-9]+/r[0-9]+-{_NAME}-s[0-9]+-[0-9a-f]{{8,32}}$")]
CLOSED = Field(json_schema_extra={"additionalProperties": False})
"""Says in the schema of a mapping too that there are no keys of another form."""


class StoredRecord(Record):
    """Base of what is stored under a key of its own."""

    model_config = ConfigDict(serialize_by_alias=True, strict=True)

    schema_version: Literal[1] = Field(alias="schema")
    """Version of the contract in `checkpoints_schema/`."""


class SealedRecord(StoredRecord):
    """A record that nothing else names by its digest, and which therefore carries its own."""

    checksum: str = ""
    """BLAKE3 of this record with an empty checksum."""


class RunRecord(StoredRecord):
    """`run.json`: what a run was started with; never changed."""

    run: Name
    """Name of the run."""
    settings: dict[str, Any]
    """Settings as resolved, without secrets."""
    versions: dict[str, str]
    """Versions of the packages that decide results, and the hardware."""
    seeds: dict[str, int]
    """Seeds by purpose."""


class Kept(Record):
    """An ancestor of the newest commit that is still kept."""

    commit: CommitName
    """Name of the commit."""
    manifest_digest: Digest
    """BLAKE3 of its manifest."""


class Head(SealedRecord):
    """`HEAD`: the only mutable object of a run, moved by compare-and-set alone."""

    seq: Count
    """Counts every move, so that no two contents are ever the same."""
    epoch: Count
    """Who may write: the writer that acquired this epoch, and no other."""
    owner: str
    """Name of that writer, for people."""
    nonce: Nonce
    """Tells that writer from another one of the same name."""
    commit: CommitName | None
    """The newest commit; none yet at the beginning of a run."""
    manifest_digest: Digest | None
    """BLAKE3 of that commit's manifest."""
    kept: tuple[Kept, ...] = ()
    """The commits before it that are still kept, newest first: where to go on should the newest be damaged."""

    @property
    def line(self) -> tuple[Kept, ...]:
        """The newest commit and its ancestors, newest first."""
        newest = (self.commit, self.manifest_digest)
        return (Kept(commit=newest[0], manifest_digest=newest[1]), *self.kept) if newest[0] and newest[1] else ()


class Lease(StoredRecord):
    """`epochs/<epoch>/lease.json`: the right to write to a run until somebody acquires the next epoch."""

    run: Name
    """Name of the run."""
    epoch: Count
    """The epoch this right is for."""
    owner: str
    """Name of the writer, for people."""
    nonce: Nonce
    """Tells that writer from another one of the same name."""
    granted: bool = False
    """Whether the manager granted this epoch, the store being unable to fence; heads then lie below the epoch."""


class Pin(StoredRecord):
    """`pins/<commit>.json`: a commit that a person wants kept."""

    commit: CommitName
    """Name of the commit."""
    reason: str = ""
    """Why, for people."""


class Quarantine(StoredRecord):
    """`quarantine/<commit>.json`: a commit that is not to be gone on from."""

    commit: CommitName
    """Name of the commit."""
    reason: str
    """What was found wrong."""


class FileEntry(Record):
    """What a manifest promises of one file."""

    size: Count
    """Length in bytes."""
    blake3: Digest
    """BLAKE3 of the bytes."""


class Manifest(StoredRecord):
    """`manifest.json`: written last; a folder without it is no commit."""

    run: Name
    """Name of the run."""
    round: Count
    """Round the commit belongs to."""
    stage: Name
    """Stage of that round."""
    step: Count
    """Step of that stage after which the state was taken."""
    epoch: Count
    """Epoch of the writer."""
    nonce: Nonce
    """Tells this commit from another attempt at the same step."""
    parent: CommitName | None
    """The commit that was the newest before this one."""
    files: Annotated[dict[FilePath, FileEntry], CLOSED]
    """What the commit holds, by path inside its folder."""
    data: Annotated[dict[Name, Digest], CLOSED] = {}
    """Digests of what the state was computed from, by name."""
    versions: Annotated[dict[Name, Name], CLOSED] = {}
    """Versions of the packages that computed it, and the hardware: under others what follows may have other bits."""

    @property
    def commit(self) -> str:
        """Name of the commit, unique in its run: `e<epoch>/r<round>-<stage>-s<step>-<nonce>`."""
        return f"e{self.epoch}/r{self.round}-{self.stage}-s{self.step}-{self.nonce}"


class StageRecord(SealedRecord):
    """`rounds/<n>/<stage>.json`: a stage that is done, and what came out."""

    round: Count
    """Round of the stage."""
    stage: Name
    """Name of the stage."""
    outputs: dict[str, Any]
    """What the stage says of its outputs: digests, commit, numbers."""


class ShardRecord(StoredRecord):
    """`rounds/<n>/<stage>/shard-<k>.json`: a part of a stage that is done."""

    round: Count
    """Round of the stage."""
    stage: Name
    """Name of the stage."""
    shard: Count
    """Number of the part."""
    blob: Digest
    """Digest of the content under `data/blobs`."""
    size: Count
    """Length of the content in bytes."""
