"""Whether a WebDAV server moves a collection to a free name for one of many: tried out below `~tmp/`, then removed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from uuid import uuid4

from tsgb.errors import NoCompareAndSet
from tsgb.storage.answers import Refused, Unanswered
from tsgb.storage.base import PROBE_CURE
from tsgb.storage.webdav_client import Server
from tsgb.storage.webdav_layout import TEMPORARY
from tsgb.storage.webdav_place import make, remove, take, upload

RACERS = 8
ROUNDS = 4


def probe_moves(server: Server) -> None:
    """Raise NoCompareAndSet unless of racing moves to one name exactly one gets through."""
    field = f"{TEMPORARY}u{uuid4().hex}/"
    make(server, field)
    try:
        with ThreadPoolExecutor(RACERS) as threads:
            for number in range(ROUNDS):
                _race(server, threads, f"{field}{number}~/")
    finally:
        server.made.discard(field)
        remove(server, field)


def _race(server: Server, threads: ThreadPoolExecutor, target: str) -> None:
    def won(racer: str) -> bool:
        with suppress(Refused, Unanswered):
            take(server, racer, target)
            return True
        return False

    racers = list(threads.map(lambda racer: upload(server, [b"%d" % racer], 1), range(RACERS)))
    winners = sum(threads.map(won, racers))
    if winners > 1:
        raise NoCompareAndSet(
            f"{server.place} cannot fence a writer (of {RACERS} racing writers {winners} got through); {PROBE_CURE}."
        )
    if not winners:
        raise Unanswered("no racing writer got through")
