"""Large files in parts, a few side by side; the object is there, whole, once the last request has put them together.

That request carries the condition. Parts of an upload that failed are given up at once, those of a killed process by
`sweep`.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import md5
from pathlib import Path

from tsgb.storage.pace import Pace
from tsgb.storage.patience import Patience
from tsgb.storage.s3_client import Bucket

PART = 8 << 20
"""Bytes of a part; at most 10,000 make a file."""
AT_ONCE = 4
"""Parts of one file that are sent side by side."""


def content_md5(data: bytes) -> str:
    """The checksum that every service compares with what arrived (RFC 1864)."""
    return b64encode(md5(data, usedforsecurity=False).digest()).decode()


def create_in_parts(bucket: Bucket, key: str, path: Path, patience: Patience, pace: Pace) -> None:
    """Create the object `key` from the file `path`; raises Refused if it is there when the last request comes."""
    upload = {"Key": key, "UploadId": bucket.ask("create_multipart_upload", Key=key)["UploadId"]}

    def send(number: int) -> Mapping[str, object]:
        data = _part(path, number)
        pace.wait(len(data))
        part = {"PartNumber": number + 1, "Body": data, "ContentMD5": content_md5(data)}
        reply = patience.until_answered(lambda: bucket.ask("upload_part", **upload, **part))
        return {"PartNumber": number + 1, "ETag": reply["ETag"]}

    try:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            parts = list(threads.map(send, range(-(-path.stat().st_size // PART))))
        bucket.ask("complete_multipart_upload", **upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
    except BaseException:
        with suppress(Exception):
            bucket.ask("abort_multipart_upload", **upload)
        raise


def _part(path: Path, number: int) -> bytes:
    with path.open("rb") as file:
        file.seek(number * PART, os.SEEK_SET)
        return file.read(PART)
