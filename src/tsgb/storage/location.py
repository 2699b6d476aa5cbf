"""From what a person writes (`runs`, `file:///disk/runs`, `s3://bucket/runs`, `webdavs://host/runs`) to the store."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from tsgb.errors import SettingsError
from tsgb.settings import Secrets, StorageSettings
from tsgb.storage.base import Store
from tsgb.storage.local import LocalStore

_REMOTE = {"s3": "tsgb.storage.s3", "webdav": "tsgb.storage.webdav", "webdavs": "tsgb.storage.webdav"}
"""Modules by scheme, loaded when they are needed: a client takes longer to import than all the rest."""


def open_store(location: str | Path, settings: StorageSettings | None = None, secrets: Secrets | None = None) -> Store:
    """Open the store at a path or URL; `settings` say how it is reached; raises SettingsError for another scheme."""
    text = str(location)
    if "://" not in text:
        return LocalStore(Path(text).expanduser())
    url = urlsplit(text)
    if url.scheme in _REMOTE:
        _require_no_login(url)
        store: Store = import_module(_REMOTE[url.scheme]).open_url(url, settings or StorageSettings(), secrets)
        return store
    if url.scheme != "file" or url.netloc not in ("", "localhost"):
        cure = "use a folder, file:///folder, s3://bucket/prefix or webdavs://host/path"
        raise SettingsError(f"storage location «{text}» is not supported; {cure}.")
    return LocalStore(Path(unquote(url.path)))


def _require_no_login(url: SplitResult) -> None:
    if "@" in url.netloc:
        cure = "put them in RCLONE_WEBDAV_USER and RCLONE_WEBDAV_PASS, or the AWS_ variables"
        raise SettingsError(f"the {url.scheme} storage location must not hold a user or a password; {cure}.")
