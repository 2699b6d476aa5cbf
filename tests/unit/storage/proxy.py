"""A real HTTP proxy in front of a store's server that does to the next requests what it is told.

`faults` is a list of what happens to the requests to come, first come first: `pass`, `lose` (forward, then hang up),
`drop` (hang up), `cut` (forward half of the body, then hang up on both sides), `damage` (flip one bit of the body), a
status such as `503` (answer it instead), `tear` (cut the reply short), `nest` (move a collection into its destination).
Requests whose method is not in `methods` pass and use none up. Headers in `overwritten` get that value on their way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR, create_connection
from threading import Thread
from urllib.parse import urlsplit

HOP = {"transfer-encoding", "connection", "content-length"}


class Proxy(ThreadingHTTPServer):
    """The proxy; `address` is what a client is given."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target)
        self.faults: list[str] = []
        self.methods = {"GET", "PUT", "HEAD", "MOVE"}
        self.overwritten: dict[str, str] = {}
        self.seen: list[str] = []

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are expected here."""


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """A proxy in front of a server, until the end of the block."""
    server = Proxy(target)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _forward(self) -> None:
        body = self._body()
        fault = self.server.faults.pop(0) if self.server.faults and self.command in self.server.methods else "pass"
        self.server.seen.append(f"{self.command} {fault}")
        if fault == "drop":
            self._hang_up()
        elif fault == "cut":
            self._forward_half(body)
        elif fault.isdigit():
            self._answer(int(fault), b"")
        else:
            self._reply(fault, *self._ask(fault, body))

    def _body(self) -> bytes:
        if self.headers.get("Expect") == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _ask(self, fault: str, body: bytes) -> tuple[HTTPResponse, bytes]:
        if fault == "damage":
            body = bytes([body[0] ^ 1]) + body[1:]
        upstream = HTTPConnection(self.server.target.netloc, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
        if fault == "nest":
            headers["Destination"] += self.path.rstrip("/").rpartition("/")[2] + "/"
        headers |= {name: value for name, value in self.server.overwritten.items() if name in headers}
        upstream.request(self.command, self.path, body, headers)
        response = upstream.getresponse()
        return response, response.read()

    def _forward_half(self, body: bytes) -> None:
        with create_connection((self.server.target.hostname, self.server.target.port), timeout=30) as upstream:
            head = f"{self.requestline}\r\n{self.headers}".replace("\r\n", "\n").replace("\n", "\r\n")
            upstream.sendall(head.encode() + body[: len(body) // 2])
        self._hang_up()

    def _reply(self, fault: str, response: HTTPResponse, content: bytes) -> None:
        if fault == "lose":
            self._hang_up()
            return
        length = response.headers.get("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_response_only(response.status)
        for name, value in response.headers.items():
            if name.lower() not in HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if fault == "tear" else content)
        if fault == "tear":
            self._hang_up()

    def _hang_up(self) -> None:
        """End the connection for the client, too: `close` alone waits for the files that were made of it."""
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(SHUT_RDWR)

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = do_MOVE = do_MKCOL = do_PROPFIND = _forward

    def log_message(self, *_: object) -> None:
        """Say nothing."""
