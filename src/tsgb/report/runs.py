"""Runs by name: a name that does not exist is answered with those that do."""

from __future__ import annotations

from pathlib import Path

from tsgb.checkpoints.encoding import decode
from tsgb.checkpoints.layout import run_key
from tsgb.errors import InputError, Missing
from tsgb.records.run import RunRecord
from tsgb.settings import Secrets, load_settings
from tsgb.storage import LocalStore, Store, open_store


def find_run(location: str | Path, name: str) -> tuple[Store, RunRecord]:
    """The store at a location and what a run in it was started with; raises InputError naming the runs that exist."""
    store = open_store(location, load_settings().storage, Secrets())
    try:
        return store, decode(RunRecord, store.get(run_key(name)), run_key(name))
    except Missing:
        if isinstance(store, LocalStore) and not store.root.is_dir():
            raise InputError(f"There is no folder {location}; name the one that holds runs/.") from None
        known = run_names(store)
        cure = f"choose one of: {', '.join(known)}" if known else "there is none yet, begin one with tsgb train-local"
        raise InputError(f"There is no run {name!r} in {location}; {cure}.") from None


def run_names(store: Store) -> list[str]:
    """The runs of a store, sorted."""
    parts = (key.split("/") for key in store.list("runs/"))
    return sorted(names[1] for names in parts if names[2:] == ["run.json"])
