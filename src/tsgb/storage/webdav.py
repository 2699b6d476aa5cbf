"""A store on a WebDAV server, whatever it thinks of conditions.

Servers ignore `If-Match`, create a collection twice or let two rename a file to one name. What every one of those tried
does for exactly one of many is to move a *collection* to a free name (`MOVE`, `Overwrite: F`), so all writes end in
that: bytes go to `~tmp/<uuid>/`, which then becomes the object. A key that moves by compare-and-set is a collection of
numbered versions: the successor of version 7 can only become version 8, once. Old versions are kept for a while, so
that a writer that slept through many moves finds the number taken, or its predecessor gone. Nothing is ever overwritten
in place.

Leaves out: a key that is created by `put_new` does not move by `compare_and_set` (Conflict); checksums, which manifests
hold; whether a server keeps to its word about moves, which `probe` tries out.

Source: RFC 4918, sections 9.9 (MOVE) and 10.6 (Overwrite).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import httpx

from tsgb.errors import Conflict, Missing, SettingsError
from tsgb.settings import Secrets, StorageSettings
from tsgb.storage.answers import PastEnd, Refused, Unanswered
from tsgb.storage.base import LEFTOVER_AGE_S, Watch, check_key, is_key, unwatched
from tsgb.storage.files import in_chunks, receive_file, same_bytes
from tsgb.storage.pace import Pace
from tsgb.storage.patience import Patience
from tsgb.storage.webdav_client import Login, Server, is_done
from tsgb.storage.webdav_layout import DATA, TEMPORARY, folder_of, key_of, may_hold, object_path, start_of
from tsgb.storage.webdav_place import make, take, take_away, upload
from tsgb.storage.webdav_probe import probe_moves

AT_ONCE = 4
"""Files that are sent side by side."""
KEPT = 16
"""Versions behind the newest that stay; they are cleared away once twice as many are there."""
SCHEMES = {"webdav": "http", "webdavs": "https", "http": "http", "https": "https"}


def open_url(url: SplitResult, settings: StorageSettings, secrets: Secrets | None = None) -> WebdavStore:
    """The store at `webdavs://host/path`, or at `webdavs:///path` below the address in RCLONE_WEBDAV_URL."""
    login = Login(secrets.rclone_webdav_user, secrets.rclone_webdav_pass) if secrets else Login()
    place = f"WebDAV folder «{url.scheme}://{url.netloc}{url.path}»"
    return WebdavStore(Server(_address(url, secrets, place), place, login, settings.patience_s), settings)


class WebdavStore:
    """Bytes by key below a collection on a server; the first write creates it, but none above it."""

    def __init__(self, server: Server, settings: StorageSettings) -> None:
        self.server = server
        self._patience = Patience(settings.patience_s, server.place)
        self._pace = Pace(settings.upload_megabytes_per_second * 1e6)
        self._versions: dict[str, tuple[int, bytes]] = {}
        """Number and bytes, as last seen, of the few keys that move by compare-and-set."""

    def probe(self) -> None:
        """Try out whether one of many racing moves gets through; raises NoCompareAndSet, saying why not."""
        self._patience.until_answered(lambda: probe_moves(self.server))

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes under `key`, or those from `start` up to `stop`; raises Missing."""
        if stop is not None and stop <= start:
            return b""
        try:
            return self._patience.until_answered(lambda: b"".join(self._chunks(key, start, stop)))
        except PastEnd:
            return b""

    def get_file(self, key: str, path: Path, watch: Watch = unwatched) -> None:
        """Stream the bytes under `key` into the file `path`, which appears only when whole; raises Missing."""
        receive_file(path, lambda start: self._chunks(key, start), self._patience, watch)

    def put_new(self, key: str, data: bytes) -> None:
        """Create `key`; fine if it holds the same bytes already, Conflict if it holds others."""
        target = object_path(check_key(key))
        self._write(key, lambda: self._create(target, [data], len(data)), lambda: self.get(key) == data)

    def put_file(self, key: str, path: Path) -> None:
        """Create `key` from the file `path`; raises as `put_new` does."""
        target, size = object_path(check_key(key)), path.stat().st_size

        def send() -> None:
            self._create(target, in_chunks(path), size)

        self._write(key, send, lambda: same_bytes(path, self._chunks(key)))

    def put_files(self, files: Mapping[str, Path]) -> None:
        """Create several keys from files, a few side by side."""
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(self.put_file, files.keys(), files.values()))

    def compare_and_set(self, key: str, expected: bytes | None, new: bytes) -> None:
        """Replace `expected` (None: no such key) by `new` in one step; raises Conflict if `key` holds anything else."""

        def send() -> None:
            number = 1 if expected is None else self._number(key, expected) + 1
            target = object_path(check_key(key))
            if expected is None:
                self._create(target, [new], len(new), inside="1/")
            else:
                self._place(f"{target}{number}/", [new], len(new))
                self._require_successor(target, number)
            self._versions[key] = (number, new)

        self._write(key, send, lambda: self._newest(key)[1] == new, same_is_mine=False)

    def exists(self, key: str) -> bool:
        """Say whether `key` holds bytes."""
        path = object_path(check_key(key))
        return self._patience.until_answered(lambda: self.server.is_there(path))

    def list(self, prefix: str) -> Sequence[str]:
        """Return the sorted keys that begin with `prefix`; unfinished writes are not among them."""
        return sorted(key for key in self._walk(start_of(prefix), prefix) if key.startswith(prefix) and is_key(key))

    def delete(self, key: str) -> None:
        """Remove `key`, in one step; a key that is not there counts as removed."""
        path = object_path(check_key(key))
        self._versions.pop(key, None)
        self._patience.until_answered(lambda: take_away(self.server, path))

    def sweep(self, older_than_s: float = LEFTOVER_AGE_S) -> int:
        """Remove what has been on its way for over `older_than_s` seconds by the server's clock; returns how many."""
        try:
            found, now = self._patience.until_answered(lambda: self.server.members(TEMPORARY))
        except Missing:
            return 0
        aged = [(each.name, parsedate_to_datetime(now) - each.changed) for each in found if now and each.changed]
        old = [name for name, age in aged if age.total_seconds() > older_than_s]
        for name in old:
            self._patience.until_answered(partial(self.server.ask, "DELETE", f"{TEMPORARY}{name}/"))
        return len(old)

    def _write(
        self, key: str, send: Callable[[], object], is_mine: Callable[[], bool], *, same_is_mine: bool = True
    ) -> None:
        def is_there() -> bool:
            try:
                return is_mine()
            except Missing:
                return False

        if not self._patience.write(send, is_there, same_is_mine=same_is_mine):
            raise Conflict(f"{self.server.place} holds other bytes under «{key}» than expected.")

    def _create(self, target: str, chunks: Iterable[bytes], size: int, inside: str = "") -> None:
        make(self.server, folder_of(target))
        self._place(target, chunks, size, inside)

    def _place(self, target: str, chunks: Iterable[bytes], size: int, inside: str = "") -> None:
        take(self.server, upload(self.server, self._paced(chunks), size, inside), target)

    def _number(self, key: str, expected: bytes) -> int:
        """The version that holds the bytes expected, remembered or read; raises Refused if the newest holds others."""
        number, data = self._versions.get(key, (0, b""))
        try:
            if not number or data != expected:
                number, data = self._newest(key)
        except Missing:
            raise Refused from None
        if data != expected:
            raise Refused
        return number

    def _require_successor(self, path: str, number: int) -> None:
        """See that the number was not free because it had been cleared away; raises Refused."""
        numbers = self._numbers(path)
        if number - 1 not in numbers or numbers[-1] >= number + KEPT:
            raise Refused
        if len(numbers) > 2 * KEPT:
            self._clear_away(path, numbers[:-KEPT])

    def _clear_away(self, path: str, numbers: Sequence[int]) -> None:
        """Remove old versions, the oldest first, and no more of them once one stays."""
        with suppress(Unanswered):
            for number in numbers:
                status = self.server.ask("DELETE", f"{path}{number}/")
                if not (is_done(status) or status == HTTPStatus.NOT_FOUND):
                    return

    def _newest(self, key: str) -> tuple[int, bytes]:
        """Number and bytes of a key's newest version, asked once; raises Missing."""
        path = object_path(check_key(key))
        if not (numbers := self._numbers(path)):
            self._versions.pop(key, None)
            raise self._missing(key)
        try:
            data = b"".join(self.server.chunks(f"{path}{numbers[-1]}/{DATA}"))
        except Missing:
            raise Unanswered("a version was cleared away while it was read") from None
        self._versions[key] = (numbers[-1], data)
        return self._versions[key]

    def _numbers(self, path: str) -> Sequence[int]:
        try:
            found, _ = self.server.members(path)
        except Missing:
            return []
        return sorted(int(each.name) for each in found if each.name.isdecimal())

    def _chunks(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        path = object_path(check_key(key))
        if key not in self._versions:
            with suppress(Missing):
                yield from self.server.chunks(f"{path}{DATA}", start, stop)
                return
        yield self._newest(key)[1][start:stop]

    def _missing(self, key: str) -> Missing:
        return Missing(f"there is no «{key}» in {self.server.place}.")

    def _walk(self, folder: str, prefix: str) -> Iterator[str]:
        try:
            found, _ = self._patience.until_answered(lambda: self.server.members(folder))
        except Missing:
            return
        for each in found:
            below = f"{folder}{each.name}/"
            if key := key_of(folder, each.name):
                yield key
            elif below != TEMPORARY and may_hold(below, prefix):
                yield from self._walk(below, prefix)

    def _paced(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._pace.wait(len(chunk))
            yield chunk


def _address(url: SplitResult, secrets: Secrets | None, place: str) -> httpx.URL:
    """Where requests go: to the host that is named, or to the address that is kept secret."""
    path = url.path.rstrip("/")
    if url.netloc:
        return _checked(f"{SCHEMES[url.scheme]}://{url.netloc}{path}", place)
    if secrets is None or secrets.rclone_webdav_url is None:
        cure = "name one, as in webdavs://host/path, or set RCLONE_WEBDAV_URL in the environment or in .env"
        raise SettingsError(f"{place} has no host; {cure}.")
    kept = urlsplit(secrets.rclone_webdav_url.get_secret_value())
    if kept.scheme not in SCHEMES or not kept.netloc or "@" in kept.netloc:
        raise SettingsError(
            "RCLONE_WEBDAV_URL must be https://host/path, with user and password in their own variables."
        )
    return _checked(f"{SCHEMES[kept.scheme]}://{kept.netloc}{kept.path.rstrip('/')}{path}", place)


def _checked(address: str, place: str) -> httpx.URL:
    try:
        return httpx.URL(address)
    except httpx.InvalidURL:
        raise SettingsError(
            f"{place} is no address; write it as webdavs://host/path or webdavs://host:port/path."
        ) from None
