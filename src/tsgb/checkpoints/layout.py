"""Where everything of a run lies in its store.

The settings it was started with, the head, and for each epoch who may write:

    runs/<run>/run.json
    runs/<run>/HEAD
    runs/<run>/epochs/<epoch>/lease.json
    runs/<run>/epochs/<epoch>/heads/<seq>.json      (stores without compare-and-set)

Commits, content by digest, and which stages and shards are done:

    runs/<run>/commits/e<epoch>/r<round>-<stage>-s<step>-<nonce>/{…, manifest.json}
    runs/<run>/pins/<commit>.json   runs/<run>/quarantine/<commit>.json
    runs/<run>/data/blobs/<digest>
    runs/<run>/rounds/<n>/<stage>.json
    runs/<run>/rounds/<n>/<stage>/shard-<k>.json
"""

from __future__ import annotations

import re
from typing import NamedTuple

MANIFEST = "manifest.json"
TRAINER_STATE = "trainer_state.json"
ADAPTER = "adapter_config.json"
"""What makes a folder an adapter as PEFT stores it."""

_COMMIT = re.compile(r"e(\d+)/r(\d+)-(.+)-s(\d+)-[0-9a-f]+")


class Position(NamedTuple):
    """What the name of a commit says; of two commits of a stage, the greater position is the newer."""

    epoch: int
    round: int
    stage: str
    step: int


def position(commit: str) -> Position | None:
    """Read the name of a commit; None if it is not one."""
    match = _COMMIT.fullmatch(commit)
    return Position(int(match[1]), int(match[2]), match[3], int(match[4])) if match else None


def stage_of(commit: str) -> tuple[int, str] | None:
    """Round and stage that the name of a commit says."""
    place = position(commit)
    return (place.round, place.stage) if place else None


def run_key(run: str) -> str:
    """Key of the settings a run was started with."""
    return f"runs/{run}/run.json"


def head_key(run: str) -> str:
    """Key of the only mutable object."""
    return f"runs/{run}/HEAD"


def lease_key(run: str, epoch: int) -> str:
    """Key of the record that names the writer of an epoch."""
    return f"runs/{run}/epochs/{epoch}/lease.json"


def epochs_prefix(run: str) -> str:
    """Prefix of all epochs of a run."""
    return f"runs/{run}/epochs/"


def granted_head_key(run: str, epoch: int, seq: int) -> str:
    """Key of a head in a store without compare-and-set."""
    return f"{epochs_prefix(run)}{epoch}/heads/{seq:08d}.json"


def pins_prefix(run: str) -> str:
    """Prefix of the commits a person wants kept."""
    return f"runs/{run}/pins/"


def quarantine_prefix(run: str) -> str:
    """Prefix of the commits that are not to be gone on from."""
    return f"runs/{run}/quarantine/"


def marker_name(commit: str) -> str:
    """A commit's name as one name of a key."""
    return commit.replace("/", "-")


def commits_prefix(run: str) -> str:
    """Prefix of all commits of a run."""
    return f"runs/{run}/commits/"


def commit_key(run: str, commit: str, file: str) -> str:
    """Key of one file of a commit."""
    return f"{commits_prefix(run)}{commit}/{file}"


def blob_key(run: str, digest: str) -> str:
    """Key of content that is named by its digest."""
    return f"runs/{run}/data/blobs/{digest}"


def rounds_prefix(run: str) -> str:
    """Prefix of what is known of all rounds."""
    return f"runs/{run}/rounds/"


def stage_key(run: str, round_number: int, stage: str) -> str:
    """Key of the record that says a stage is done."""
    return f"{rounds_prefix(run)}{round_number}/{stage}.json"


def shard_key(run: str, round_number: int, stage: str, shard: int) -> str:
    """Key of the record that says one part of a stage is done."""
    return f"{rounds_prefix(run)}{round_number}/{stage}/shard-{shard}.json"
