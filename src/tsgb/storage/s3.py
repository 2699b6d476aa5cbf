"""A store in a bucket of S3, or of any service that speaks its protocol and keeps to its conditions.

Every write carries a condition, `If-None-Match: *` or `If-Match: <etag>`, so that of two writers exactly one wins, and
an MD5 that the service compares with what arrived. A reply that was lost is looked up before the request is sent again.
Files over 8 MiB go in parts. Leaves out: whether a service keeps its word, which `probe` tries out for single requests
(keys of large files are unique by the nonce of their commit); and checksums of downloads, which manifests hold.

Source: Amazon S3 User Guide, «Add preconditions to S3 operations with conditional requests».
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

from tsgb.errors import Conflict, Missing
from tsgb.settings import Secrets, StorageSettings
from tsgb.storage.answers import PastEnd, Refused
from tsgb.storage.base import CHUNK, LEFTOVER_AGE_S, Watch, check_key, is_key, unwatched
from tsgb.storage.files import receive_file, same_bytes
from tsgb.storage.pace import Pace
from tsgb.storage.patience import Patience
from tsgb.storage.s3_client import Access, Bucket
from tsgb.storage.s3_parts import PART, content_md5, create_in_parts
from tsgb.storage.s3_probe import probe_bucket

AT_ONCE = 4
"""Files that are sent side by side."""


def open_url(url: SplitResult, settings: StorageSettings, secrets: Secrets | None = None) -> S3Store:
    """The store at `s3://bucket/prefix`."""
    return S3Store(Bucket(url.netloc, Access.of(settings, secrets)), url.path.strip("/"), settings)


class S3Store:
    """Bytes by key below `prefix` in a bucket."""

    def __init__(self, bucket: Bucket, prefix: str, settings: StorageSettings) -> None:
        self.bucket, self.prefix = bucket, f"{prefix}/" if prefix else ""
        self._patience = Patience(settings.patience_s, bucket.place)
        self._pace = Pace(settings.upload_megabytes_per_second * 1e6)
        self._tags: dict[str, tuple[bytes, str]] = {}
        """Bytes and tags, as last seen, of the few keys that move by compare-and-set."""

    def probe(self) -> None:
        """Try out whether conditional writes hold here; raises NoCompareAndSet, saying why not."""
        self._patience.until_answered(lambda: probe_bucket(self.bucket, self.prefix))

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes under `key`, or those from `start` up to `stop`; raises Missing."""
        if stop is not None and stop <= start:
            return b""
        try:
            return self._patience.until_answered(lambda: self._read(key, start, stop))
        except PastEnd:
            return b""

    def get_file(self, key: str, path: Path, watch: Watch = unwatched) -> None:
        """Stream the bytes under `key` into the file `path`, which appears only when whole; raises Missing."""
        receive_file(path, lambda start: self._chunks(key, start), self._patience, watch)

    def put_new(self, key: str, data: bytes) -> None:
        """Create `key`; fine if it holds the same bytes already, Conflict if it holds others."""
        self._write(key, lambda: self._put(key, data, IfNoneMatch="*"), lambda: self.get(key) == data)

    def put_file(self, key: str, path: Path) -> None:
        """Create `key` from the file `path`; raises as `put_new` does."""
        send = self._send_whole if path.stat().st_size <= PART else self._send_parts
        self._write(key, partial(send, key, path), lambda: same_bytes(path, self._chunks(key)))

    def put_files(self, files: Mapping[str, Path]) -> None:
        """Create several keys from files, a few side by side."""
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(self.put_file, files.keys(), files.values()))

    def compare_and_set(self, key: str, expected: bytes | None, new: bytes) -> None:
        """Replace `expected` (None: no such key) by `new` in one step; raises Conflict if `key` holds anything else."""

        def send() -> None:
            condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": self._tag(key, expected)}
            self._tags[key] = (new, self._put(key, new, **condition))

        self._write(key, send, lambda: self._now(key)[0] == new, same_is_mine=False)

    def exists(self, key: str) -> bool:
        """Say whether `key` holds bytes."""
        try:
            self._asked("head_object", Key=self._name(key))
        except Missing:
            return False
        return True

    def list(self, prefix: str) -> Sequence[str]:
        """Return the sorted keys that begin with `prefix`."""
        found = self._listed("list_objects_v2", "Contents", prefix)
        keys = (each["Key"].removeprefix(self.prefix) for each in found)
        return sorted(key for key in keys if is_key(key))

    def delete(self, key: str) -> None:
        """Remove `key`; a key that is not there counts as removed."""
        self._tags.pop(key, None)
        self._asked("delete_object", Key=self._name(key))

    def sweep(self, older_than_s: float = LEFTOVER_AGE_S) -> int:
        """Abort uploads in parts begun over `older_than_s` seconds ago, by the service's clock; returns how many."""
        unfinished = self._listed("list_multipart_uploads", "Uploads", "")
        now = self._service_time() if unfinished else None
        old = [each for each in unfinished if now and (now - each["Initiated"]).total_seconds() > older_than_s]
        for each in old:
            self._abort(each["Key"], each["UploadId"])
        return len(old)

    def _name(self, key: str) -> str:
        return self.prefix + check_key(key)

    def _asked(self, operation: str, **request: object) -> Any:
        return self._patience.until_answered(lambda: self.bucket.ask(operation, **request))

    def _listed(self, operation: str, field: str, prefix: str) -> Sequence[Any]:
        return self._patience.until_answered(lambda: self.bucket.pages(operation, field, self.prefix + prefix))

    def _write(
        self, key: str, send: Callable[[], object], is_done: Callable[[], bool], *, same_is_mine: bool = True
    ) -> None:
        def is_there() -> bool:
            try:
                return is_done()
            except Missing:
                return False

        if not self._patience.write(send, is_there, same_is_mine=same_is_mine):
            raise Conflict(f"s3://{self.bucket.name}/{self._name(key)} holds other bytes than expected.")

    def _put(self, key: str, data: bytes, **condition: str) -> str:
        """Write under a condition, and return the tag; a key that has to be there and is not is a refusal, too."""
        try:
            reply = self.bucket.ask(
                "put_object", Key=self._name(key), Body=data, ContentMD5=content_md5(data), **condition
            )
        except Missing:
            raise Refused from None
        return str(reply["ETag"])

    def _send_whole(self, key: str, path: Path) -> None:
        data = path.read_bytes()
        self._pace.wait(len(data))
        self._put(key, data, IfNoneMatch="*")

    def _send_parts(self, key: str, path: Path) -> None:
        if self.exists(key):
            raise Refused
        create_in_parts(self.bucket, self._name(key), path, self._patience, self._pace)

    def _tag(self, key: str, expected: bytes) -> str:
        """The tag of the bytes expected, remembered or read; raises Refused if `key` holds others."""
        try:
            data, tag = self._tags.get(key) or self._now(key)
            if data != expected:
                data, tag = self._now(key)
        except Missing:
            raise Refused from None
        if data != expected:
            raise Refused
        return tag

    def _now(self, key: str) -> tuple[bytes, str]:
        """Bytes and tag of a key as it is, asked once."""
        self._tags[key] = self._fetch(key)
        return self._tags[key]

    def _read(self, key: str, start: int, stop: int | None) -> bytes:
        if start or stop is not None:
            return self._fetch(key, f"bytes={start}-{'' if stop is None else stop - 1}")[0]
        return self._now(key)[0] if key in self._tags else self._fetch(key)[0]

    def _fetch(self, key: str, wanted: str = "") -> tuple[bytes, str]:
        with self.bucket.explained():
            reply = self._object(key, wanted)
            return reply["Body"].read(), reply["ETag"]

    def _chunks(self, key: str, start: int = 0) -> Iterator[bytes]:
        with self.bucket.explained():
            yield from self._object(key, f"bytes={start}-" if start else "")["Body"].iter_chunks(CHUNK)

    def _object(self, key: str, wanted: str) -> Any:
        try:
            return self.bucket.ask("get_object", Key=self._name(key), **({"Range": wanted} if wanted else {}))
        except Missing:
            raise Missing(f"there is no «{key}» in s3://{self.bucket.name}/{self.prefix}".rstrip("/") + ".") from None

    def _abort(self, name: str, upload: str) -> None:
        with suppress(Missing):
            self._asked("abort_multipart_upload", Key=name, UploadId=upload)

    def _service_time(self) -> datetime:
        reply = self._asked("list_objects_v2", MaxKeys=1)
        return parsedate_to_datetime(reply["ResponseMetadata"]["HTTPHeaders"]["date"])
