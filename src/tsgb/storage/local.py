"""A store in a folder of a local disk.

Every write goes to a hidden temporary file beside its target, is flushed to the disk and only then gets its name: by a
hard link for `put_new` (the file system lets exactly one writer win), by a rename under a lock for `compare_and_set`.
Several processes on one machine may share a store. Not promised: network file systems without hard links or `flock`.
"""

from __future__ import annotations

import errno
import fcntl
import filecmp
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from tsgb.errors import Conflict, InputError, Missing, NoCompareAndSet, NoSpace, StorageError
from tsgb.storage.base import CHUNK, LEFTOVER_AGE_S, PROBE, Watch, check_key, is_key, unwatched

_TEMPORARY = ".tmp-"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EROFS}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}


class LocalStore:
    """Bytes by key in the folder `root`, which the first write creates if need be."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def probe(self) -> None:
        """Try out whether files can be linked once and locked here; raises NoCompareAndSet, saying why not."""
        key = f"{PROBE}{uuid4().hex}"
        try:
            self.compare_and_set(key, None, b"1")
            _require_conflict(lambda: self.put_new(key, b"2"), "a name could be taken twice")
            _require_conflict(lambda: self.compare_and_set(key, b"0", b"2"), "a stale write got through")
        finally:
            self.delete(key)

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes under `key`, or those from `start` up to `stop`; raises Missing."""
        with _found(key, self._path(key)) as path, path.open("rb") as file:
            file.seek(start)
            return file.read() if stop is None else file.read(max(0, stop - start))

    def get_file(self, key: str, path: Path, watch: Watch = unwatched) -> None:
        """Copy the bytes under `key` into the file `path`, which appears only when whole; raises Missing."""
        with _found(key, self._path(key)) as source, _temporary(path, lambda copy: _copy(source, copy, watch)) as whole:
            whole.replace(path)

    def put_new(self, key: str, data: bytes) -> None:
        """Create `key`; fine if it holds the same bytes already, Conflict if it holds others."""
        self._create(key, lambda path: _write(path, data), lambda path: path.read_bytes() == data)

    def put_file(self, key: str, path: Path) -> None:
        """Create `key` from the file `path`; fine if it holds the same bytes already, Conflict if it holds others."""
        self._create(key, lambda copy: _copy(path, copy), lambda taken: filecmp.cmp(path, taken, shallow=False))

    def put_files(self, files: Mapping[str, Path]) -> None:
        """Create several keys from files; one after the other, for one disk writes them all."""
        for key, path in files.items():
            self.put_file(key, path)

    def compare_and_set(self, key: str, expected: bytes | None, new: bytes) -> None:
        """Replace `expected` (None: no such key) by `new` in one step; raises Conflict if `key` holds anything else."""
        path = self._path(key)
        with _temporary(path, lambda copy: _write(copy, new)) as whole, self._locked():
            if (path.read_bytes() if path.exists() else None) != expected:
                raise Conflict(f"{path} holds other bytes than expected; another writer was faster.")
            whole.replace(path)
            _sync(path.parent)

    def exists(self, key: str) -> bool:
        """Say whether `key` holds bytes."""
        return self._path(key).is_file()

    def list(self, prefix: str) -> Sequence[str]:
        """Return the sorted keys that begin with `prefix`; unfinished writes are not among them."""
        folder = prefix.rpartition("/")[0]
        start = self._path(folder) if folder else self.root
        keys = (path.relative_to(self.root).as_posix() for path in _files(start))
        return sorted(key for key in keys if key.startswith(prefix) and is_key(key))

    def delete(self, key: str) -> None:
        """Remove `key` and the folders it leaves empty; a key that is not there counts as removed."""
        path = self._path(key)
        with _explained(path):
            path.unlink(missing_ok=True)
        for folder in path.relative_to(self.root).parents[:-1]:
            try:
                (self.root / folder).rmdir()
            except OSError:
                return

    def sweep(self, older_than_s: float = LEFTOVER_AGE_S) -> int:
        """Remove temporary files last written more than `older_than_s` seconds ago; returns how many."""
        limit = time.time() - older_than_s
        unfinished = (path for path in _files(self.root) if path.name.startswith(_TEMPORARY))
        leftovers = [path for path in unfinished if _written_at(path) < limit]
        for path in leftovers:
            path.unlink(missing_ok=True)
        return len(leftovers)

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _create(self, key: str, fill: Callable[[Path], None], same: Callable[[Path], bool]) -> None:
        path = self._path(key)
        with _temporary(path, fill) as whole:
            try:
                os.link(whole, path)
            except FileExistsError:
                if path.is_dir() or not same(path):
                    raise Conflict(f"{path} is taken by other bytes; names are written once.") from None
            _sync(path.parent)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep every other `compare_and_set` in this store waiting, across threads and processes."""
        with (self.root / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _require_conflict(write: Callable[[], None], otherwise: str) -> None:
    try:
        write()
    except Conflict:
        return
    raise NoCompareAndSet(otherwise)


@contextmanager
def _temporary(path: Path, fill: Callable[[Path], None]) -> Iterator[Path]:
    """Give a flushed file with the content of `path`-to-be beside it; it is gone afterwards, whatever happened."""
    temporary = path.with_name(_TEMPORARY + uuid4().hex)
    with _explained(path):
        _reserve(temporary)
        try:
            fill(temporary)
            _sync(temporary)
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def _reserve(temporary: Path) -> None:
    """Create the empty file, again and again while `delete` in another process removes its still empty folder."""
    while True:
        with suppress(FileNotFoundError):
            _make_folder(temporary.parent)
            temporary.touch(exist_ok=False)
            return


@contextmanager
def _found(key: str, path: Path) -> Iterator[Path]:
    """Give the file of a key, which another process may remove at any moment."""
    try:
        if not path.is_file():
            raise FileNotFoundError
        yield path
    except FileNotFoundError:
        raise Missing(f"there is no «{key}» in {str(path).removesuffix('/' + key)}.") from None


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into one sentence that names the path and the cure."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            cure = "free some and run the same command again, everything committed before is whole"
            raise NoSpace(f"no space left to write {path}: {cure}.") from error
        if error.errno in _FORBIDDEN:
            cure = "choose a folder you may write to"
            raise InputError(f"{path} cannot be written ({error.strerror}); {cure}.") from error
        if isinstance(error, (NotADirectoryError, FileExistsError)):
            raise Conflict(f"{path} cannot be created: a part of its name is taken by a file.") from error
        if error.errno in _NO_LINKS:
            cure = "the store needs a file system with hard links"
            raise StorageError(f"{path} cannot be created ({error.strerror}): {cure}.") from error
        raise


def _make_folder(folder: Path) -> None:
    """Create `folder` with its parents so that they survive a power cut."""
    for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        missing.mkdir(exist_ok=True)
        _sync(missing.parent)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _copy(source: Path, target: Path, watch: Watch = unwatched) -> None:
    if watch is unwatched:
        shutil.copyfile(source, target)
        return
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(CHUNK):
            watch(chunk)
            writer.write(chunk)


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
