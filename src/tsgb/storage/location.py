"""From what a person writes (`runs`, `/mnt/disk/runs`, `file:///mnt/disk/runs`) to the store that is meant."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from tsgb.errors import SettingsError
from tsgb.storage.base import Store
from tsgb.storage.local import LocalStore


def open_store(location: str | Path) -> Store:
    """Open the store at a path or `file://` URL; raises SettingsError for any other scheme."""
    text = str(location)
    if "://" not in text:
        return LocalStore(Path(text).expanduser())
    url = urlsplit(text)
    if url.scheme != "file" or url.netloc not in ("", "localhost"):
        raise SettingsError(f"storage location «{text}» is not supported; use a folder or file:///folder.")
    return LocalStore(Path(unquote(url.path)))
