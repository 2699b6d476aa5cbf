"""Whether a service keeps to the conditions of a request: tried out on keys of its own, which are removed again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

from botocore.exceptions import ClientError

from tsgb.errors import NoCompareAndSet
from tsgb.storage.base import PROBE

RACERS = 8
ROUNDS = 3
CURE = "let `tsgb manager loop` hand out epochs, or use a store with conditional writes"


def probe_bucket(client: Any, bucket: str, prefix: str) -> None:
    """Raise NoCompareAndSet unless stale and doubled writes are refused and of racing ones exactly one gets through."""
    place = {"Bucket": bucket, "Key": f"{prefix}{PROBE}{uuid4().hex}"}
    try:
        first = client.put_object(**place, Body=b"1", IfNoneMatch="*")["ETag"]
        _require_refusal(client, place, "an object was created twice", IfNoneMatch="*")
        _require_refusal(client, place, "a stale write got through", IfMatch='"00000000000000000000000000000000"')
        for number in range(ROUNDS):
            first = _race(client, place, first, number)
    finally:
        client.delete_object(**place)


def _require_refusal(client: Any, place: dict[str, str], otherwise: str, **condition: str) -> None:
    if _write(client, place, b"2", condition):
        raise _no(place, otherwise)


def _race(client: Any, place: dict[str, str], etag: str, number: int) -> str:
    """Let several writers replace the same bytes; returns the only winner's tag."""
    bodies = [b"%d/%d" % (number, racer) for racer in range(RACERS)]
    with ThreadPoolExecutor(RACERS) as threads:
        tags = [tag for tag in threads.map(lambda body: _write(client, place, body, {"IfMatch": etag}), bodies) if tag]
    if len(tags) != 1:
        raise _no(place, f"of {RACERS} racing writers {len(tags)} got through")
    return tags[0]


def _write(client: Any, place: dict[str, str], body: bytes, condition: dict[str, str]) -> str | None:
    """Write under a condition; returns the tag, or None if it was refused."""
    try:
        tag: str = client.put_object(**place, Body=body, **condition)["ETag"]
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
            return None
        raise
    return tag


def _no(place: dict[str, str], what: str) -> NoCompareAndSet:
    return NoCompareAndSet(f"bucket «{place['Bucket']}» does not keep to conditions ({what}); {CURE}.")
