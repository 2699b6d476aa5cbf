"""Where a WebDAV server keeps what a key names, and what its listings say. Pure: no request is sent here.

    runs/demo/commits/e1/c7,a.bin~/data      the key `runs/demo/commits/e1/c7/a.bin`, created once
    runs/demo,HEAD~/17/data                  the key `runs/demo/HEAD` after its 17th move
    ~tmp/<uuid>/                             on its way

An object is a collection, for a collection is what servers move in one step. The last two names of a key are one, so
that the folder of a commit needs no making and leaves nothing behind when its files are deleted: WebDAV cannot remove a
collection on condition that it is empty. No key holds `~` or `,`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

DATA = "data"
"""The file in an object's collection that holds its bytes."""
TEMPORARY = "~tmp/"
"""The collection of what is on its way; nothing below it is ever read as an object."""

WANTED = b'<?xml version="1.0"?><propfind xmlns="DAV:"><prop><getlastmodified/></prop></propfind>'
"""What a listing has to tell (RFC 4918, section 9.1)."""


class Entry(NamedTuple):
    """A member of a collection."""

    name: str
    changed: datetime | None
    """None where the server does not say."""


def object_path(key: str) -> str:
    """The collection that holds the bytes of `key`."""
    folder, names = _split(key)
    return f"{folder}{names}~/"


def folder_of(path: str) -> str:
    """The collection in which a collection lies; the store itself is ''."""
    return path.rstrip("/").rpartition("/")[0] + "/" if "/" in path.rstrip("/") else ""


def key_of(folder: str, name: str) -> str | None:
    """The key whose object has this name in this collection, if it is one."""
    return folder + name.removesuffix("~").replace(",", "/") if name.endswith("~") else None


def start_of(prefix: str) -> str:
    """The lowest collection below which all keys lie that begin with `prefix`."""
    return _split(prefix)[0]


def may_hold(folder: str, prefix: str) -> bool:
    """Say whether keys below a collection may begin with `prefix`."""
    return folder.startswith(prefix) or prefix.startswith(folder)


def members(listing: bytes, path: str) -> Iterator[Entry]:
    """The members of the collection at the URL path `path`; raises ElementTree.ParseError."""
    own = unquote(path).rstrip("/")
    for response in ElementTree.fromstring(listing).iter("{DAV:}response"):
        found = unquote(urlsplit(response.findtext("{DAV:}href", "")).path).rstrip("/")
        if found != own:
            yield Entry(found.rpartition("/")[2], _time(response.findtext(".//{DAV:}getlastmodified")))


def _split(key: str) -> tuple[str, str]:
    """The collection of a key's object, and the object's name."""
    *folders, last = key.split("/")
    above = "".join(f"{name}/" for name in folders[:-1])
    return above, ",".join([*folders[-1:], last])


def _time(text: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
