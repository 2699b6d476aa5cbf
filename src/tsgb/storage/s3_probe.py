"""Whether a service keeps to the conditions of a request: tried out on keys of its own, which are removed again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from uuid import uuid4

from tsgb.errors import Missing, NoCompareAndSet
from tsgb.storage.answers import Refused, Unanswered
from tsgb.storage.base import PROBE, PROBE_CURE
from tsgb.storage.s3_client import Bucket

RACERS = 8
ROUNDS = 3


def probe_bucket(bucket: Bucket, prefix: str) -> None:
    """Raise NoCompareAndSet unless stale and doubled writes are refused and of racing ones exactly one gets through."""
    key = f"{prefix}{PROBE}{uuid4().hex}"
    try:
        tag = bucket.ask("put_object", Key=key, Body=b"1", IfNoneMatch="*")["ETag"]
        if _write(bucket, key, b"2", IfNoneMatch="*"):
            raise _no(bucket, "an object was created twice")
        if _write(bucket, key, b"2", IfMatch=f'"{"0" * 32}"'):
            raise _no(bucket, "a stale write got through")
        for number in range(ROUNDS):
            tag = _race(bucket, key, tag, number)
    finally:
        bucket.ask("delete_object", Key=key)


def _race(bucket: Bucket, key: str, tag: str, number: int) -> str:
    """Let several writers replace the same bytes; returns the only winner's tag, or raises Unanswered if none has."""

    def write(racer: int) -> str | None:
        with suppress(Unanswered):
            return _write(bucket, key, b"%d/%d" % (number, racer), IfMatch=tag)
        return None

    with ThreadPoolExecutor(RACERS) as threads:
        tags = [won for won in threads.map(write, range(RACERS)) if won]
    if len(tags) > 1:
        raise _no(bucket, f"of {RACERS} racing writers {len(tags)} got through")
    if not tags:
        raise Unanswered("no racing writer got through")
    return tags[0]


def _write(bucket: Bucket, key: str, body: bytes, **condition: str) -> str | None:
    """Write under a condition; returns the tag, or None if it was refused."""
    try:
        return str(bucket.ask("put_object", Key=key, Body=body, **condition)["ETag"])
    except (Refused, Missing):
        return None


def _no(bucket: Bucket, what: str) -> NoCompareAndSet:
    return NoCompareAndSet(f"{bucket.place} does not keep to conditions ({what}); {PROBE_CURE}.")
