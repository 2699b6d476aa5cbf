"""From what a person points at (a run, a commit, the latest run) to a folder with an adapter, every byte checked."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tsgb.checkpoints import Journal
from tsgb.checkpoints.accepted import accepted_bundle
from tsgb.checkpoints.encoding import decode
from tsgb.checkpoints.layout import ADAPTER, MANIFEST, commit_key
from tsgb.checkpoints.manifest import verify
from tsgb.errors import InputError
from tsgb.records.run import Manifest
from tsgb.report.results import read_results
from tsgb.report.runs import find_run

LATEST = "latest"


class Bundle(NamedTuple):
    """A hardened adapter as PEFT stores it."""

    folder: Path | None
    """Where it lies; None: no adapter."""
    model: str
    """The model that the run hardened; empty: the shipped surrogate, or not known."""


def find_bundle(path: Path) -> Bundle:
    """The adapter of a commit's folder, or the newest accepted one of a run's; `…/latest` is a folder's newest run.

    Raises InputError for a path that is neither, and Corrupt if a file is not what its manifest promises.
    """
    folder = _latest(path.parent) if path.name == LATEST else _beside(path)
    if (folder / "run.json").is_file():
        return _accepted(folder)
    if not (folder / ADAPTER).is_file():
        has = f"has no {ADAPTER}" if folder.exists() else "does not exist"
        raise InputError(f"{path} {has}; give the folder of a run, of a commit of the stage guards, or …/{LATEST}.")
    _check(folder)
    return Bundle(folder, "")


def _beside(path: Path) -> Path:
    """The path, or the run of that name where a store keeps its runs."""
    inside = path.parent / "runs" / path.name
    return inside if inside.is_dir() and not path.exists() else path


def _latest(folder: Path) -> Path:
    """The run whose head moved last, in a folder of runs or in a store's."""
    heads = [*folder.glob("*/HEAD"), *folder.glob("runs/*/HEAD")]
    if not heads:
        raise InputError(f"There is no run in {folder}; begin one with tsgb train-local, or name another folder.")
    return max(heads, key=lambda head: head.stat().st_mtime).parent


def _accepted(folder: Path) -> Bundle:
    whole = folder.absolute()
    root, name = whole.parents[1], whole.name
    store, record = find_run(root, name)
    commit = accepted_bundle(Journal(store, name), record.settings["run"]["rounds"])
    if commit is None:
        last = read_results(store, record).rounds[-1]
        rejected = root / commit_key(name, last.bundle, "")
        reasons = "; ".join(last.reasons)
        raise InputError(
            f"Run {name!r} has no accepted defender ({reasons}); to examine it all the same, give {rejected}"
        )
    bundle = root / commit_key(name, commit, "")
    _check(bundle)
    return Bundle(bundle, record.settings["model"]["path"])


def _check(folder: Path) -> None:
    """Compare a commit's files with its manifest; a folder that is no commit promises nothing."""
    path = folder / MANIFEST
    if path.is_file():
        for name, promised in decode(Manifest, path.read_bytes(), str(path)).files.items():
            verify(folder / name, promised, str(folder / name))
