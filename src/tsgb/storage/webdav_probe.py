"""Whether a WebDAV server moves a collection to a free name for one of many: tried out below `~tmp/`, then removed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from uuid import uuid4

from tsgb.errors import NoCompareAndSet
from tsgb.storage.answers import Unanswered
from tsgb.storage.base import PROBE_CURE
from tsgb.storage.webdav_client import Server, is_done
from tsgb.storage.webdav_layout import TEMPORARY

RACERS = 8
ROUNDS = 5
UNKNOWN = (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)


def probe_moves(server: Server) -> None:
    """Raise NoCompareAndSet unless of racing moves to one name exactly one gets through."""
    field = f"{TEMPORARY}{uuid4().hex}/"
    try:
        server.ask("MKCOL", field)
        with ThreadPoolExecutor(RACERS) as threads:
            for number in range(ROUNDS):
                _race(server, threads, f"{field}{number}")
    finally:
        with suppress(Unanswered):
            server.ask("DELETE", field)


def _race(server: Server, threads: ThreadPoolExecutor, target: str) -> None:
    def move(racer: str) -> int:
        with suppress(Unanswered):
            return server.move(racer, f"{target}/")
        return 0

    racers = [f"{target}-{racer}/" for racer in range(RACERS)]
    list(threads.map(lambda racer: server.ask("MKCOL", racer), racers))
    answers = list(threads.map(move, racers))
    winners = sum(is_done(answer) for answer in answers)
    if winners > 1:
        raise _no(server, f"of {RACERS} racing writers {winners} got through")
    if all(answer in UNKNOWN for answer in answers):
        raise _no(server, "it does not move folders")
    if not winners:
        raise Unanswered("no racing writer got through")


def _no(server: Server, what: str) -> NoCompareAndSet:
    return NoCompareAndSet(f"{server.place} cannot fence a writer ({what}); {PROBE_CURE}.")
