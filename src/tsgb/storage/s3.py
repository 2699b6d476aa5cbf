"""A store in a bucket of S3, or of any service that speaks its protocol and keeps to its conditions.

Small objects are written with `If-None-Match: *` and `If-Match: <etag>`, so that of two writers exactly one wins; a
reply that was lost is looked up before the request is sent again. Files up to 64 MiB are one conditional request,
larger ones `upload_file` in parts: their keys are unique by the nonce of their commit, and are looked up before.
Checksums travel with every upload and download. Leaves out: whether a service keeps its word, which `probe` tries out.

Source: Amazon S3 User Guide, «Add preconditions to S3 operations with conditional requests».
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from tsgb.errors import Conflict, Missing
from tsgb.settings import Secrets, StorageSettings
from tsgb.storage.base import CHUNK, LEFTOVER_AGE_S, Watch, check_key, is_key, unwatched
from tsgb.storage.files import appearing, same_bytes
from tsgb.storage.pace import Pace, PacedFile
from tsgb.storage.patience import Patience
from tsgb.storage.s3_client import Access, Clients, code_of, explained, is_transient
from tsgb.storage.s3_probe import probe_bucket

ONE_REQUEST = 64 << 20
"""Files up to so many bytes are sent in one conditional request."""
AT_ONCE = 4
"""Files that are sent side by side."""
REFUSED = ("PreconditionFailed", "NoSuchKey", "404")
"""What a service says when the condition of a write does not hold."""

T = TypeVar("T")


def open_url(url: SplitResult, settings: StorageSettings, secrets: Secrets | None = None) -> S3Store:
    """The store at `s3://bucket/prefix`."""
    return S3Store(url.netloc, url.path.strip("/"), Access.of(settings, secrets), settings)


class S3Store:
    """Bytes by key below `prefix` in a bucket."""

    def __init__(self, bucket: str, prefix: str, access: Access, settings: StorageSettings) -> None:
        self.bucket, self.prefix = bucket, f"{prefix}/" if prefix else ""
        self._clients = Clients(access)
        self._patience = Patience(settings.patience_s)
        self._pace = Pace(settings.upload_megabytes_per_second * 1e6)
        self._etags: dict[str, tuple[bytes, str]] = {}

    @property
    def requests(self) -> int:
        """Requests sent by this process so far, repetitions included."""
        return self._clients.requests

    def probe(self) -> None:
        """Try out whether conditional writes hold here; raises NoCompareAndSet, saying why not."""
        self._asked(lambda: probe_bucket(self._clients.client, self.bucket, self.prefix))

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes under `key`, or those from `start` up to `stop`; raises Missing."""
        if stop is not None and stop <= start:
            return b""
        if start == 0 and stop is None:
            return self._read(key)[0]
        wanted = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}
        try:
            return self._asked(lambda: self._object(key, **wanted)["Body"].read())  # type: ignore[no-any-return]
        except ClientError as error:
            if code_of(error) == "InvalidRange":
                return b""
            raise

    def get_file(self, key: str, path: Path, watch: Watch = unwatched) -> None:
        """Stream the bytes under `key` into the file `path`, which appears only when whole; raises Missing."""
        with appearing(path) as (unfinished, file):

            def receive() -> None:
                done = unfinished.tell()
                rest = {"Range": f"bytes={done}-"} if done else {}
                for chunk in self._object(key, **rest)["Body"].iter_chunks(CHUNK):
                    watch(chunk)
                    unfinished.write(chunk)

            self._asked(receive)
            file.done = True

    def put_new(self, key: str, data: bytes) -> None:
        """Create `key`; fine if it holds the same bytes already, Conflict if it holds others."""
        self._create(key, lambda: self._put(key, data, IfNoneMatch="*"), lambda: self.get(key) == data)

    def put_file(self, key: str, path: Path) -> None:
        """Create `key` from the file `path`; raises as `put_new` does."""
        send = self._send_whole if path.stat().st_size <= ONE_REQUEST else self._send_parts
        self._create(key, partial(send, key, path), lambda: same_bytes(path, self._chunks(key)))

    def put_files(self, files: Mapping[str, Path]) -> None:
        """Create several keys from files, a few side by side."""
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(self.put_file, files.keys(), files.values()))

    def compare_and_set(self, key: str, expected: bytes | None, new: bytes) -> None:
        """Replace `expected` (None: no such key) by `new` in one step; raises Conflict if `key` holds anything else."""
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": self._etag(key, expected)}
        self._create(key, lambda: self._put(key, new, **condition), lambda: self._now(key) == new)

    def exists(self, key: str) -> bool:
        """Say whether `key` holds bytes."""
        try:
            self._asked(lambda: self._client.head_object(**self._at(key)))
        except ClientError as error:
            if code_of(error) in ("404", "NoSuchKey"):
                return False
            raise
        return True

    def list(self, prefix: str) -> Sequence[str]:
        """Return the sorted keys that begin with `prefix`."""
        found = self._asked(lambda: [*self._pages("list_objects_v2", "Contents", prefix)])
        keys = (each["Key"].removeprefix(self.prefix) for each in found)
        return sorted(key for key in keys if is_key(key))

    def delete(self, key: str) -> None:
        """Remove `key`; a key that is not there counts as removed."""
        self._etags.pop(key, None)
        self._asked(lambda: self._client.delete_object(**self._at(key)))

    def sweep(self, older_than_s: float = LEFTOVER_AGE_S) -> int:
        """Abort uploads in parts begun over `older_than_s` seconds ago, by the service's clock; returns how many."""
        unfinished = self._asked(lambda: [*self._pages("list_multipart_uploads", "Uploads", "")])
        now = self._server_time() if unfinished else None
        old = [each for each in unfinished if now and (now - each["Initiated"]).total_seconds() > older_than_s]
        for each in old:
            place = {"Bucket": self.bucket, "Key": each["Key"], "UploadId": each["UploadId"]}
            self._asked(partial(self._client.abort_multipart_upload, **place))
        return len(old)

    @property
    def _client(self) -> Any:
        return self._clients.client

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.prefix + check_key(key)}

    def _asked(self, attempt: Callable[[], T]) -> T:
        """Repeat an attempt until it is answered, and turn what a person must change into a sentence."""
        with explained(self.bucket, self._clients.access):
            return self._patience.until_answered(attempt, is_transient, f"bucket «{self.bucket}»")

    def _create(self, key: str, write: Callable[[], object], is_mine: Callable[[], bool]) -> None:
        """Write under a condition; refused or unanswered, see first whether it was done: then the reply was lost."""
        unsure = False

        def attempt() -> None:
            nonlocal unsure
            if unsure and self.exists(key) and is_mine():
                return
            unsure = True
            write()

        try:
            self._asked(attempt)
        except ClientError as error:
            if code_of(error) not in REFUSED:
                raise
            if not self.exists(key) or not is_mine():
                raise Conflict(f"s3://{self.bucket}/{self.prefix}{key} holds other bytes than expected.") from None

    def _put(self, key: str, data: bytes, **condition: str) -> None:
        reply = self._client.put_object(**self._at(key), Body=data, **condition)
        self._etags[key] = (data, reply["ETag"])

    def _send_whole(self, key: str, path: Path) -> None:
        with PacedFile(path, self._pace) as file:
            self._client.put_object(**self._at(key), Body=file, ContentLength=path.stat().st_size, IfNoneMatch="*")

    def _send_parts(self, key: str, path: Path) -> None:
        if self.exists(key):
            raise ClientError({"Error": {"Code": "PreconditionFailed"}}, "UploadFile")
        limit = {"max_bandwidth": int(self._pace.bytes_per_second)} if self._pace.bytes_per_second else {}
        parts = TransferConfig(multipart_threshold=ONE_REQUEST, multipart_chunksize=16 << 20, **limit)
        place = self._at(key)
        self._client.upload_file(str(path), place["Bucket"], place["Key"], Config=parts)

    def _etag(self, key: str, expected: bytes) -> str:
        """The tag of the bytes expected, remembered or read; raises Conflict if `key` holds others."""
        data, etag = self._etags.get(key, (None, ""))
        if data != expected:
            try:
                data, etag = self._read(key)
            except Missing:
                data = None
        if data != expected:
            raise Conflict(f"s3://{self.bucket}/{self.prefix}{key} holds other bytes than expected.")
        return etag

    def _now(self, key: str) -> bytes:
        self._etags.pop(key, None)
        return self._read(key)[0]

    def _read(self, key: str) -> tuple[bytes, str]:
        def read() -> tuple[bytes, str]:
            reply = self._object(key)
            return reply["Body"].read(), reply["ETag"]

        self._etags[key] = self._asked(read)
        return self._etags[key]

    def _object(self, key: str, **wanted: str) -> Any:
        try:
            return self._client.get_object(**self._at(key), **wanted)
        except ClientError as error:
            if code_of(error) in ("NoSuchKey", "404"):
                raise Missing(f"there is no «{key}» in s3://{self.bucket}/{self.prefix}".rstrip("/") + ".") from None
            raise

    def _chunks(self, key: str) -> Iterator[bytes]:
        yield from self._object(key)["Body"].iter_chunks(CHUNK)

    def _pages(self, operation: str, field: str, prefix: str) -> Iterator[Any]:
        pages = self._client.get_paginator(operation).paginate(Bucket=self.bucket, Prefix=self.prefix + prefix)
        for page in pages:
            yield from page.get(field, ())

    def _server_time(self) -> datetime:
        reply = self._asked(lambda: self._client.list_objects_v2(Bucket=self.bucket, MaxKeys=1))
        return parsedate_to_datetime(reply["ResponseMetadata"]["HTTPHeaders"]["date"])
