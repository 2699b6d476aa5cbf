"""How bytes get a name on a WebDAV server, and lose it: by moves of whole collections, which happen or do not.

Asked twice at one moment, some servers (wsgidav) move the second collection *into* the first and say yes to both. So
collections are never empty when they are moved, and who was told yes looks whether he lies inside another.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from http import HTTPStatus
from uuid import uuid4

from tsgb.errors import SettingsError
from tsgb.storage.answers import Refused, Unanswered
from tsgb.storage.webdav_client import Server, is_done
from tsgb.storage.webdav_layout import DATA, TEMPORARY, folder_of


def make(server: Server, folder: str) -> None:
    """Create a collection and those above it up to the store's own, if need be; raises SettingsError."""
    if folder in server.made:
        return
    if folder:
        make(server, folder_of(folder))
    status = server.ask("MKCOL", folder)
    if not (is_done(status) or status == HTTPStatus.METHOD_NOT_ALLOWED or server.is_there(folder)):
        cure = "create the folder above it, or name another in storage.root"
        raise SettingsError(f"{server.place} is not there and cannot be created ({status}); {cure}.")
    server.made.add(folder)


def upload(server: Server, chunks: Iterable[bytes], length: int, inside: str = "") -> str:
    """Send bytes to a new collection of their own, or one `inside` it; returns its path."""
    folder = f"{TEMPORARY}u{uuid4().hex}/"
    make(server, TEMPORARY)
    for path in dict.fromkeys([folder, folder + inside]):
        _require(server, server.ask("MKCOL", path))
    _require(server, server.ask("PUT", f"{folder}{inside}{DATA}", chunks, {"Content-Length": str(length)}))
    return folder


def take(server: Server, folder: str, target: str) -> None:
    """Move what was uploaded to a name that must be free, or remove it; raises Refused if it is taken."""
    try:
        _move(server, folder, target)
    except Refused:
        remove(server, folder)
        raise
    nested = target + folder.removeprefix(TEMPORARY)
    if server.is_there(nested):
        remove(server, nested)
        raise Refused


def take_away(server: Server, path: str) -> None:
    """Remove a collection in one step, if it is there."""
    trash = f"{TEMPORARY}u{uuid4().hex}/"
    status = server.move(path, trash)
    if is_done(status):
        remove(server, trash)
    elif server.is_there(path):
        server.made.clear()
        make(server, TEMPORARY)
        raise Unanswered(f"MOVE answered {status}")


def remove(server: Server, folder: str) -> None:
    """Remove what nobody needs; what stays of it is swept some day."""
    with suppress(Unanswered):
        server.ask("DELETE", folder)


def _move(server: Server, folder: str, target: str) -> None:
    """Servers have many words for a taken name, and the same for a collection that is gone: so look."""
    status = server.move(folder, target)
    if is_done(status):
        return
    if status == HTTPStatus.PRECONDITION_FAILED or server.is_there(target):
        raise Refused
    if status in (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED):
        raise server.refusal(status)
    raise _begin_anew(server, status)


def _require(server: Server, status: int) -> None:
    if status in (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND):
        raise _begin_anew(server, status)
    if not is_done(status):
        raise server.refusal(status)


def _begin_anew(server: Server, status: int) -> Unanswered:
    """Somebody removed a collection: try again, and make them all again."""
    server.made.clear()
    return Unanswered(f"a write was answered {status}")
