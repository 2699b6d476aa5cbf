"""A stage that learns is committed beside its steps, at a signal at once, and gone back in once."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from tsgb.checkpoints import acquire, latest, resume
from tsgb.checkpoints.quarantine import quarantined
from tsgb.errors import Fenced, Interrupted, NotFinite
from tsgb.records.run import Manifest
from tsgb.records.training import Example, Kind
from tsgb.training.state import load_state, save_state, state_digest
from tsgb.worker import harden
from tsgb.worker.run import Run

STEPS = 6
KINDS: tuple[Kind, ...] = ("breaker", "retain", "twin")
MakeRun = Callable[..., Run]


def example(kind: Kind, number: int) -> Example:
    mask = (False, True, True)
    clean = {"reference_ids": (7, 8 + number, 9), "reference_mask": mask} if kind == "twin" else {}
    about = {"id": f"{kind}-{number}", "kind": kind, "stratum": f"{kind}/any"}
    return Example.model_validate(about | clean | {"ids": (7 + number, 8, 9), "mask": mask})


@pytest.fixture
def start(make_run: MakeRun, tiny_model_path: Path) -> MakeRun:
    """A run of a tiny model that has come to its training."""

    def started(**changes: object) -> Run:
        small = {f"breaker__{kind}_batch": 2 for kind in KINDS} | {"breaker__steps": STEPS, "breaker__rank": 2}
        where = {"breaker__target_layers": (1, 2), "breaker__adapter_layers": (0, 1), "run__processes": 1}
        run = make_run(model__path=str(tiny_model_path), **small, **where, **changes)
        if run.journal.done(0, "sets") is None:
            examples = [example(kind, number) for kind in KINDS for number in range(3)]
            run.journal.finish(0, "sets", {"examples": run.keep_examples(examples)})
        return run

    return started


def newest(run: Run) -> Manifest:
    manifest = latest(run.store, run.name, 0, "train").manifest
    assert manifest is not None
    return manifest


def trained(run: Run) -> str:
    """The digest of the state with which the training has ended."""
    with TemporaryDirectory() as folder:
        resume(run.store, run.name, 0, "train", Path(folder))
        return state_digest(Path(folder))


def at(step: int, do: Callable[[], object]) -> Callable[[str, int, int], None]:
    """Something that happens once a step has been taken and before anything is told of it."""
    return lambda what, done, total: do() if (what, done) == ("training", step) else None


@pytest.fixture
def straight(start: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The end of a training that nothing happened to, in a store of its own."""
    run = start()
    away = type(run.store)(tmp_path_factory.mktemp("straight"))
    elsewhere = replace(run, store=away, lease=acquire(away, run.name, "me"))
    elsewhere.journal.finish(
        0, "sets", {"examples": elsewhere.keep_examples(run.examples(run.outputs(0, "sets")["examples"]))}
    )
    harden.train(elsewhere, 0)
    return trained(elsewhere)


@pytest.mark.parametrize("every", [0, 1, 4, 100])
def test_the_last_step_is_committed_however_often_the_others_are(start: MakeRun, straight: str, every: int) -> None:
    run = start(run__steps_between_checkpoints=every)
    outputs = harden.train(run, 0)
    assert (outputs["commit"], outputs["steps"], newest(run).step) == (newest(run).commit, STEPS, STEPS)
    assert newest(run).versions["torch"] == torch.__version__
    assert trained(run) == straight


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_at_a_signal_the_step_under_way_is_committed_and_training_goes_on_from_it(
    start: MakeRun, straight: str, number: signal.Signals
) -> None:
    run = start(run__steps_between_checkpoints=100)
    run.tell = at(3, lambda: os.kill(os.getpid(), number))
    with run.interruption.heard(), pytest.raises(Interrupted, match=number.name):
        harden.train(run, 0)
    assert newest(run).step == 3
    again = start(run__steps_between_checkpoints=100)
    harden.train(again, 0)
    assert trained(again) == straight


def test_a_notice_that_leaves_no_time_for_a_commit_begins_none(start: MakeRun) -> None:
    run = start(run__steps_between_checkpoints=2)
    run.tell = at(5, lambda: run.interruption.announce("the host goes", seconds=0.0))
    with pytest.raises(Interrupted, match="the host goes"):
        harden.train(run, 0)
    assert newest(run).step in (2, 4)


def test_a_fenced_writer_stops_and_deletes_nothing(start: MakeRun) -> None:
    run = start()
    kept: list[str] = []

    def replaced() -> None:
        acquire(run.store, run.name, "another")
        kept.extend(run.store.list(""))

    run.tell = at(3, replaced)
    with pytest.raises(Fenced, match="«another»"):
        harden.train(run, 0)
    assert kept
    assert set(kept) <= set(run.store.list(""))
    assert run.journal.done(0, "train") is None


def poison(run: Run) -> str:
    """Commit a state on top of the newest one that is whole and holds no number."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        step = resume(run.store, run.name, 0, "train", folder).manifest.step  # type: ignore[union-attr]
        digest = _digest(folder)
        state = load_state(folder, name="guard", digest=digest)
        bad = {key: tensor * float("nan") for key, tensor in state.exp_avg.items()}
        save_state(replace(state, exp_avg=bad), folder, name="guard", digest=digest)
        return run.publish(0, "train", step, folder).commit


def _digest(folder: Path) -> str:
    digest = json.loads((folder / "trainer_state.json").read_text())["roles"]["guard"]["digest"]
    assert isinstance(digest, str)
    return digest


def interrupted_at(start: MakeRun, step: int) -> Run:
    run = start(run__steps_between_checkpoints=100)
    run.tell = at(step, lambda: run.interruption.announce("stop"))
    with pytest.raises(Interrupted):
        harden.train(run, 0)
    return start(run__steps_between_checkpoints=100)


def test_a_commit_that_leads_to_no_number_is_gone_back_from_once(start: MakeRun, straight: str) -> None:
    run, said = interrupted_at(start, 3), list[str]()
    run.note = said.append
    bad = poison(run)
    harden.train(run, 0)
    assert list(quarantined(run.store, run.name)) == [bad]
    assert "lower the learning rate" in said[0]
    assert f"{bad} is in quarantine" in said[0]
    assert trained(run) == straight


def test_the_second_time_it_is_a_sentence_for_the_person(start: MakeRun) -> None:
    run = interrupted_at(start, 3)
    first, second = poison(run), poison(run)
    with pytest.raises(NotFinite, match="lower the learning rate, now"):
        harden.train(run, 0)
    assert list(quarantined(run.store, run.name)) == [second]
    assert newest(run).commit == first
