"""Real servers on loopback ports, started once a session: what the remote stores are tried against."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

BIN = Path(sys.executable).parent
USER, PASSWORD = "tester", "correct-horse"


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def running(command: Sequence[str | Path], port: int, environment: Mapping[str, str], log: Path) -> Iterator[None]:
    """A program that listens on a port, until the end of the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=output, stderr=output)
    try:
        _wait_for(port, process, log)
        yield
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"no server on port {port}: {log.read_text()[-2000:]}")


@contextmanager
def ministack(folder: Path) -> Iterator[str]:
    """A stand-in for S3 whose conditions are atomic; gives its address."""
    port = free_port()
    environment = {"GATEWAY_PORT": str(port), "SERVICES": "s3", "LOG_LEVEL": "ERROR"}
    with running([BIN / "ministack"], port, environment, folder / "ministack.log"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def rclone(folder: Path, protocol: str) -> Iterator[str]:
    """rclone serving a folder over `s3` (which ignores conditions) or `webdav`; gives its address."""
    port, data = free_port(), folder / f"rclone-{protocol}"
    (data / "tsgb-bucket").mkdir(parents=True)
    login = ["--user", USER, "--pass", PASSWORD] if protocol == "webdav" else []
    command = [BIN / "rclone", "serve", protocol, data, "--addr", f"127.0.0.1:{port}", *login]
    with running(command, port, {"RCLONE_CONFIG": os.devnull}, folder / f"rclone-{protocol}.log"):
        yield f"http://127.0.0.1:{port}"


WSGIDAV = """
import sys
from cheroot import wsgi
from wsgidav.wsgidav_app import WsgiDAVApp
host, port, folder, user, password = "127.0.0.1", int(sys.argv[1]), *sys.argv[2:5]
app = WsgiDAVApp({
    "provider_mapping": {"/": folder},
    "http_authenticator": {"domain_controller": None, "accept_basic": True, "accept_digest": False,
                           "default_to_digest": False},
    "simple_dc": {"user_mapping": {"*": {user: {"password": password}}}},
    "verbose": 0, "logging": {"enable": False},
})
wsgi.Server((host, port), app, numthreads=16).start()
"""


@contextmanager
def wsgidav(folder: Path) -> Iterator[str]:
    """A WebDAV server in Python; gives its address."""
    port, data = free_port(), folder / "wsgidav"
    data.mkdir()
    command = [sys.executable, "-c", WSGIDAV, str(port), str(data), USER, PASSWORD]
    with running(command, port, {}, folder / "wsgidav.log"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def untrusted(folder: Path) -> Iterator[str]:
    """A TLS server whose certificate nobody signed; gives its host and port. Needs the program `openssl`."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
