"""Requests to a WebDAV server (RFC 4918) over httpx: one client per process, its errors told apart.

Nothing is repeated here. User and password stand in no message, nor does an address that came from a secret: messages
name the place as `storage.root` does. Not here: digest authentication.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from ssl import SSLContext
from xml.etree.ElementTree import ParseError

import httpx
from pydantic import SecretStr

from tsgb.errors import Missing, NoSpace, SettingsError
from tsgb.storage.answers import PastEnd, Unanswered
from tsgb.storage.base import CHUNK
from tsgb.storage.tls import why_untrusted
from tsgb.storage.webdav_layout import WANTED, Entry, members

TIMEOUT_S = 60.0
"""Seconds without a byte after which a request counts as unanswered, if patience is not shorter."""
FULL = (HTTPStatus.INSUFFICIENT_STORAGE, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
BUSY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.LOCKED, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)


@dataclass(frozen=True)
class Login:
    """Who asks."""

    user: SecretStr | None = None
    password: SecretStr | None = None

    @property
    def auth(self) -> httpx.BasicAuth | None:
        """What a request carries; nothing where no user is known."""
        if self.user is None or self.password is None:
            return None
        return httpx.BasicAuth(self.user.get_secret_value(), self.password.get_secret_value())


class Server:
    """A collection on a server, asked by paths below it."""

    def __init__(self, address: httpx.URL, place: str, login: Login, timeout_s: float) -> None:
        self.place, self.requests = place, 0
        self.made: set[str] = set()
        """Collections that are known to be there."""
        self._address, self._login, self._timeout_s = address, login, min(TIMEOUT_S, timeout_s)
        self._own: tuple[int, httpx.Client] | None = None

    def ask(
        self,
        method: str,
        path: str,
        content: Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """Send a request and return the status of the answer; raises Unanswered, NoSpace and SettingsError."""
        return self._reply(method, path, content, headers).status_code

    def move(self, source: str, target: str) -> int:
        """Move a collection to a name that must be free; returns the status."""
        return self.ask("MOVE", source, headers={"Destination": self._url(target), "Overwrite": "F"})

    def chunks(self, path: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes of a file from `start` up to `stop`; raises Missing, PastEnd, and as `ask` does."""
        wanted = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"} if start or stop is not None else {}
        with self._explained(), self._client.stream("GET", self._url(path), headers=wanted) as reply:
            self.requests += 1
            self._judge(reply)
            self._require_file(reply.status_code)
            if wanted and reply.status_code == HTTPStatus.OK:
                yield _read(reply)[start:stop]
            else:
                yield from reply.iter_bytes(CHUNK)

    def members(self, path: str) -> tuple[Sequence[Entry], str]:
        """The members of a collection, and the server's time (RFC 9110, section 6.6.1); raises Missing."""
        reply = self._propfind(path, "1")
        try:
            return list(members(reply.content, reply.url.path)), reply.headers.get("Date", "")
        except ParseError:
            raise Unanswered("a listing was cut off") from None

    def is_there(self, path: str) -> bool:
        """Say whether there is a collection."""
        try:
            self._propfind(path, "0")
        except Missing:
            return False
        return True

    def refusal(self, status: int) -> SettingsError:
        """The sentence for an answer that no repetition will change."""
        if status == HTTPStatus.FORBIDDEN:
            return SettingsError(f"{self.place} may not be used by this user (403); check RCLONE_WEBDAV_USER.")
        cure = "check the address and its path"
        return SettingsError(f"{self.place} does not speak WebDAV (it answered {status}); {cure}.")

    def _reply(
        self, method: str, path: str, content: bytes | Iterable[bytes] | None, headers: Mapping[str, str] | None
    ) -> httpx.Response:
        with self._explained():
            self.requests += 1
            reply = self._client.request(method, self._url(path), content=content, headers=headers)
            self._judge(reply)
            return reply

    def _propfind(self, path: str, depth: str) -> httpx.Response:
        reply = self._reply("PROPFIND", path, WANTED, {"Depth": depth, "Content-Type": "application/xml"})
        if reply.status_code == HTTPStatus.NOT_FOUND:
            raise Missing(f"there is no «{path}» in {self.place}.")
        if reply.status_code != HTTPStatus.MULTI_STATUS:
            raise self.refusal(reply.status_code)
        return reply

    def _require_file(self, status: int) -> None:
        if status == HTTPStatus.NOT_FOUND:
            raise Missing(f"there is no such file in {self.place}.")
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise PastEnd
        if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise self.refusal(status)

    def _judge(self, reply: httpx.Response) -> None:
        """Raise what a status means whatever was asked: Unanswered, NoSpace or SettingsError."""
        status = reply.status_code
        if status == HTTPStatus.UNAUTHORIZED:
            raise SettingsError(f"{self.place} {self._why_unauthorized()}.")
        if status in FULL:
            raise NoSpace(f"{self.place} is full ({status}); everything committed before is whole.")
        if status in BUSY or (status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED):
            raise Unanswered(f"{reply.request.method} answered {status}")
        if reply.is_redirect:
            raise SettingsError(f"{self.place} has moved ({status}); name its new address in storage.root.")

    def _why_unauthorized(self) -> str:
        if self._login.auth is None:
            return (
                "asks for a user and a password; set RCLONE_WEBDAV_USER and RCLONE_WEBDAV_PASS, or write them in .env"
            )
        cure = (
            "check RCLONE_WEBDAV_USER and RCLONE_WEBDAV_PASS (the password itself, not as `rclone obscure` prints it)"
        )
        return f"refuses the user or the password; {cure}"

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            if why := why_untrusted(error):
                raise SettingsError(f"{self.place} {why}, or set SSL_CERT_FILE to the file of its authority.") from None
            raise Unanswered(str(error) or type(error).__name__) from None

    def _url(self, path: str) -> str:
        return f"{self._address}/{path}"

    @property
    def _client(self) -> httpx.Client:
        """The client of this process: connections do not survive a fork."""
        if self._own is None or self._own[0] != os.getpid():
            timeout = httpx.Timeout(self._timeout_s, connect=min(10.0, self._timeout_s), pool=None)
            plain = {"Accept-Encoding": "identity"}
            client = httpx.Client(auth=self._login.auth, headers=plain, verify=_trusted(), timeout=timeout)
            self._own = (os.getpid(), client)
        return self._own[1]


def is_done(status: int) -> bool:
    """Say whether a server did what was asked."""
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES and status != HTTPStatus.MULTI_STATUS


@cache
def _trusted() -> SSLContext:
    """The authorities that this machine trusts; to read them takes longer than all the rest of a client."""
    return httpx.create_ssl_context()


def _read(reply: httpx.Response) -> bytes:
    """The whole of an answer by a server that knows no ranges."""
    return b"".join(reply.iter_bytes())
