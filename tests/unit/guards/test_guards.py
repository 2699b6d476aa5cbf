"""Guards are fitted on some tasks and calibrated on others, stored whole, and answer for one model only."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tsgb.errors import InputError, ModelError
from tsgb.guards.bundle import ABOUT, PROBE, Guards, adapter_digest, load_guards, save_guards
from tsgb.guards.fit import dialogue, fit_guards, held_back_tasks, task
from tsgb.guards.report import rank, score_report
from tsgb.guards.thresholds import Thresholds
from tsgb.models.loading import Base, add_adapter, load_adapter, load_base, save_adapter
from tsgb.records.dialogue import Trajectory

LAYERS = (1, 2)


def fitted(base: Base, harmful: Sequence[Trajectory], benign: Sequence[Trajectory], seed: int = 0) -> Guards:
    return fit_guards(base, "guard", harmful, benign, (), layers=LAYERS, seed=seed)


def calls(trajectories: Sequence[Trajectory]) -> int:
    return sum(1 for trajectory in trajectories for message in trajectory.messages if message.tool_calls)


def at(guards: Guards, *, monitor: float, probe: float) -> Guards:
    """The same guards, blocking above other scores."""
    blocks = {"monitor": monitor, "probe": probe}
    changed = {
        name: Thresholds(warn=b, block=b, warn_rate=0.05, block_rate=0.01, calls=1) for name, b in blocks.items()
    }
    return replace(guards, thresholds=changed)


@pytest.fixture(scope="module")
def guards(hardened: Base, harmful: list[Trajectory], benign: list[Trajectory]) -> Guards:
    return fitted(hardened, harmful, benign)


def test_thresholds_are_chosen_on_the_tasks_held_back(
    hardened: Base, harmful: list[Trajectory], benign: list[Trajectory], guards: Guards
) -> None:
    held_back = held_back_tasks(benign, 0)
    calibration = [trajectory for trajectory in benign if task(trajectory) in held_back]
    assert len(held_back) == len(benign) / 2 and held_back != held_back_tasks(benign, 1)
    decided = guards.decide([dialogue(trajectory) for trajectory in calibration])
    for name, thresholds in guards.thresholds.items():
        scores = [decision.scores[name] for decisions in decided for decision in decisions]
        assert thresholds.calls == len(scores) == calls(calibration)
        assert thresholds.block == pytest.approx(max(scores))


def test_no_attack_on_a_task_held_back_teaches_the_probe_anything(
    hardened: Base, harmful: list[Trajectory], benign: list[Trajectory], guards: Guards
) -> None:
    held_back = held_back_tasks(benign, 0)
    kept = [trajectory for trajectory in harmful if task(trajectory) not in held_back]
    assert 0 < len(kept) < len(harmful)
    assert torch.equal(fitted(hardened, kept, benign).probe.weight_F, guards.probe.weight_F)
    assert not torch.equal(fitted(hardened, kept[1:], benign).probe.weight_F, guards.probe.weight_F)


def test_guards_without_harmful_or_benign_calls_can_not_be_fitted(
    hardened: Base, harmful: list[Trajectory], benign: list[Trajectory]
) -> None:
    with pytest.raises(InputError, match="there are 0 harmful; bring attacked trajectories"):
        fitted(hardened, [], benign)
    with pytest.raises(InputError, match="no benign tool call to choose thresholds on"):
        fitted(hardened, harmful, [])


def test_the_probe_tells_goal_calls_of_unseen_tasks_from_the_users_own(
    guards: Guards, heldout_harmful: list[Trajectory], heldout_benign: list[Trajectory]
) -> None:
    report = score_report(guards, heldout_harmful, heldout_benign, ())
    probe = report.ranking["probe"]
    assert probe.auroc is not None and probe.auroc > 0.8
    assert (probe.harmful, probe.benign) == (len(heldout_harmful), calls(heldout_benign))
    assert report.blocking["probe"].caught.total == len(heldout_harmful)
    assert report.blocking["probe"].false_alarms.total == len(heldout_benign)


def test_either_guard_may_block_and_both_kinds_of_error_are_counted(
    guards: Guards, heldout_harmful: list[Trajectory], heldout_benign: list[Trajectory]
) -> None:
    monitor_only = score_report(at(guards, monitor=-1, probe=1e9), heldout_harmful, heldout_benign, ()).blocking
    for name, share in {"monitor": 1.0, "probe": 0.0, "either": 1.0}.items():
        assert (monitor_only[name].caught.value, monitor_only[name].false_alarms.value) == (share, share)
    open_gate = score_report(at(guards, monitor=3, probe=1e9), heldout_harmful, heldout_benign, ()).blocking["either"]
    assert open_gate.caught.successes == open_gate.false_alarms.successes == 0
    assert open_gate.caught.low == 0 < open_gate.caught.high < 0.25


def test_a_trajectory_without_the_goal_call_counts_for_no_attack(
    guards: Guards, heldout_harmful: list[Trajectory]
) -> None:
    resisted = [t.model_copy(update={"messages": t.messages[-1:]}) for t in heldout_harmful]
    report = score_report(guards, resisted, [], ())
    assert report.ranking["probe"].auroc is None and report.blocking["probe"].caught.total == 0


def test_a_trajectory_that_ended_in_an_error_counts_for_nothing(
    guards: Guards, heldout_harmful: list[Trajectory], heldout_benign: list[Trajectory]
) -> None:
    unreadable = heldout_benign[0].model_copy(update={"error": "refused", "scenario": None})
    report = score_report(guards, heldout_harmful, [*heldout_benign, unreadable], ())
    assert report == score_report(guards, heldout_harmful, heldout_benign, ())


def test_ranking_counts_pairs_with_ties_as_half() -> None:
    ranking = rank([3.0, 2.0, 0.5], [2.0, 1.0])
    assert ranking.auroc == pytest.approx((2 + 1.5 + 0) / 6)
    assert ranking.recall == pytest.approx(1 / 3)


def test_stored_guards_decide_alike_wherever_the_adapter_was_loaded(
    guards: Guards, heldout_harmful: list[Trajectory], tiny_model_path: Path, tmp_path: Path
) -> None:
    save_guards(tmp_path / "guards", guards)
    save_adapter(guards.base, "guard", tmp_path / "adapter")
    base = load_base(tiny_model_path)
    load_adapter(base, "another_name", tmp_path / "adapter")
    loaded = load_guards(tmp_path / "guards", base, "another_name")
    dialogues = [dialogue(trajectory) for trajectory in heldout_harmful]
    assert loaded.decide(dialogues) == guards.decide(dialogues)
    save_guards(tmp_path / "again", loaded)
    for name in (ABOUT, PROBE):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "guards" / name).read_bytes()


def test_guards_refuse_another_adapter(guards: Guards, tmp_path: Path) -> None:
    save_guards(tmp_path, guards)
    for name, alpha, seed in (("reseeded", 8, 2), ("rescaled", 16, 1)):
        add_adapter(guards.base, name, rank=4, alpha=alpha, layers=(0, 1, 2), init_std=0.1, seed=seed)
        with pytest.raises(ModelError, match=r"made for the adapter [0-9a-f]{12}, and this adapter is [0-9a-f]{12}"):
            load_guards(tmp_path, guards.base, name)
    add_adapter(guards.base, "same", rank=4, alpha=8, layers=(0, 1, 2), init_std=0.1, seed=1)
    assert adapter_digest(guards.base, "same") == adapter_digest(guards.base, "guard")


def test_guards_refuse_another_base(guards: Guards, tiny_model_path: Path, tmp_path: Path) -> None:
    save_guards(tmp_path / "guards", guards)
    save_adapter(guards.base, "guard", tmp_path / "adapter")
    shutil.copytree(tiny_model_path, tmp_path / "base")
    weights = load_file(tmp_path / "base" / "model.safetensors")
    weights["model.norm.weight"] *= 1.01
    save_file(weights, tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})
    base = load_base(tmp_path / "base")
    load_adapter(base, "guard", tmp_path / "adapter")
    with pytest.raises(ModelError, match="load the base they belong to, or fit guards anew"):
        load_guards(tmp_path / "guards", base, "guard")


@pytest.mark.parametrize("broken", [ABOUT, PROBE])
@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_guards_that_are_not_whole_are_refused(
    guards: Guards, tmp_path: Path, broken: str, content: bytes | None
) -> None:
    save_guards(tmp_path, guards)
    (tmp_path / broken).unlink()
    if content is not None:
        (tmp_path / broken).write_bytes(content)
    with pytest.raises(InputError, match="no whole guards"):
        load_guards(tmp_path, guards.base, "guard")
