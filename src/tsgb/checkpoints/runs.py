"""A run keeps the settings it was started with: what was computed under them would mean nothing under others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tsgb.checkpoints.encoding import decode, encode
from tsgb.checkpoints.layout import run_key
from tsgb.errors import Conflict, SettingsError
from tsgb.records.run import RunRecord
from tsgb.storage import Store

_ABSENT = object()


def open_run(store: Store, record: RunRecord) -> RunRecord:
    """Start a run or go on with it, and return its record as first stored.

    Raises SettingsError if settings or seeds differ from those it was started with. Versions may differ.
    """
    key = run_key(record.run)
    try:
        store.put_new(key, encode(record))
    except Conflict:
        stored = decode(RunRecord, store.get(key), key)
        _require_same(stored, record)
        return stored
    return record


def _require_same(stored: RunRecord, asked: RunRecord) -> None:
    """Raise SettingsError naming every key that differs, both values and the cure."""
    before = {"settings": stored.settings, "seeds": stored.seeds}
    now = json.loads(json.dumps({"settings": asked.settings, "seeds": asked.seeds}))
    differing = [f"{key} was {_shown(old)}, now {_shown(new)}" for key, old, new in _differences(before, now)]
    if differing:
        cure = "set them back, or start another run under another name"
        raise SettingsError(f"run «{stored.run}» was started with other settings: {'; '.join(differing)}; {cure}.")


def _differences(before: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in sorted(before.keys() | now.keys()):
            yield from _differences(before.get(name, _ABSENT), now.get(name, _ABSENT), f"{path}.{name}".lstrip("."))
    elif before != now:
        yield path.removeprefix("settings."), before, now


def _shown(value: Any) -> str:
    return "not set" if value is _ABSENT else json.dumps(value, ensure_ascii=False)
