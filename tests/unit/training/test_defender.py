"""Circuit breakers are trained to the same bits by one process or two, in one go or resumed."""

from __future__ import annotations

import json
import multiprocessing
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tsgb.breakers.examples import dump_examples
from tsgb.errors import InputError, ModelError, SettingsError
from tsgb.models.loading import Base, load_adapter, load_base, save_adapter, using
from tsgb.records.training import Example
from tsgb.training.defender import Defender, StepReport, train
from tsgb.training.plan import TrainingPlan
from tsgb.training.reports import dump_reports
from tsgb.training.terms import needed_blocks
from tsgb.training.vector import AdapterVector

Examples = tuple[Example, ...]


def trained(base: Base, examples: Examples, plan: TrainingPlan, processes: int = 1) -> dict[str, torch.Tensor]:
    with Defender(base, examples, plan, processes=processes) as defender:
        assert len(list(train(defender))) == plan.steps
        return defender.state().adapter


def equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


@pytest.fixture(scope="module")
def straight(tiny_model_path: Path, examples: Examples, plan: TrainingPlan) -> dict[str, torch.Tensor]:
    return trained(load_base(tiny_model_path), examples, plan)


def test_two_processes_make_the_same_adapter_as_one(
    base: Base, examples: Examples, plan: TrainingPlan, straight: dict[str, torch.Tensor]
) -> None:
    assert equal(trained(base, examples, plan, processes=2), straight)


def test_two_processes_agree_where_one_of_them_loads_only_the_blocks_it_needs(
    base: Base, examples: Examples, plan: TrainingPlan
) -> None:
    lower = plan.model_copy(update={"steps": 3, "twin_batch": 0, "retain_layers": (1, 2)})
    assert needed_blocks(lower) == 2 and needed_blocks(plan) is None
    assert equal(trained(base, examples, lower, processes=2), trained(base, examples, lower))


def test_a_packed_training_goes_on_to_the_same_bits(
    base: Base, examples: Examples, plan: TrainingPlan, tmp_path: Path
) -> None:
    packed = plan.model_copy(update={"steps": 6, "packed": True, "keep_references": False, "fused_lora": True})
    with Defender(base, examples, packed) as first:
        for _ in range(3):
            first.step()
        first.save(tmp_path)
        list(train(first))
        straight = first.state().adapter
    with Defender(base, examples, packed) as second:
        second.restore(tmp_path)
        list(train(second))
        assert equal(second.state().adapter, straight)


def test_a_lack_of_memory_is_answered_with_the_setting_to_turn(
    tiny_model_path: Path, examples: Examples, plan: TrainingPlan, tmp_path: Path
) -> None:
    (tmp_path / "sets.jsonl").write_bytes(dump_examples(examples))
    greedy = plan.model_copy(update={"micro_tokens": 10**6, "retain_batch": 4000, "breaker_batch": 0, "twin_batch": 0})
    (tmp_path / "plan.json").write_text(greedy.model_dump_json())
    (tmp_path / "script.py").write_text(SHORT_OF_MEMORY)
    arguments = [str(tmp_path / "script.py"), str(tiny_model_path), str(tmp_path / "sets.jsonl")]
    done = subprocess.run(
        [sys.executable, *arguments, str(tmp_path / "plan.json")], capture_output=True, text=True, timeout=240
    )
    assert done.stdout.splitlines()[-1:] == [
        "A micro-batch needs more memory than there is: set breaker.micro_tokens, now 1000000, to 500000, "
        "or breaker.recompute to true."
    ], done.stderr


SHORT_OF_MEMORY = """
import resource, sys
from pathlib import Path
from tsgb.breakers.examples import load_examples
from tsgb.errors import ModelError
from tsgb.models.loading import load_base
from tsgb.training.defender import Defender
from tsgb.training.plan import TrainingPlan

if __name__ == "__main__":
    model, sets, plan = map(Path, sys.argv[1:])
    plan = TrainingPlan.model_validate_json(plan.read_text())
    with Defender(load_base(model), load_examples(sets.read_bytes()), plan) as defender:
        used = 4096 * int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
        try:
            defender.step()
        except ModelError as error:
            print(error)
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_a_resumed_training_ends_with_the_same_bits(
    processes: int,
    base: Base,
    examples: Examples,
    plan: TrainingPlan,
    straight: dict[str, torch.Tensor],
    tmp_path: Path,
) -> None:
    with Defender(base, examples, plan) as first:
        for _ in range(5):
            first.step()
        first.save(tmp_path)
    with Defender(base, examples, plan, processes=processes) as second:
        second.restore(tmp_path)
        assert [report.step for report in train(second)] == [6, 7, 8, 9, 10, 11, 12]
        assert equal(second.state().adapter, straight)


def test_a_resumed_training_knows_what_every_step_before_has_seen(
    base: Base, examples: Examples, plan: TrainingPlan, tmp_path: Path
) -> None:
    with Defender(base, examples, plan) as straight:
        seen = list(train(straight))
        assert straight.reports == seen
    with Defender(base, examples, plan) as first:
        for _ in range(5):
            first.step()
        first.save(tmp_path)
    with Defender(base, examples, plan, processes=2) as second:
        second.restore(tmp_path)
        assert second.reports == seen[:5]
        list(train(second))
        assert dump_reports(second.reports) == dump_reports(seen)


def test_reports_of_other_steps_than_the_states_are_refused(
    base: Base, examples: Examples, plan: TrainingPlan, tmp_path: Path
) -> None:
    with Defender(base, examples, plan) as defender:
        defender.step()
        defender.save(tmp_path)
        line = (tmp_path / "reports_guard.jsonl").read_bytes()
        (tmp_path / "reports_guard.jsonl").write_bytes(line * 2)
        with pytest.raises(InputError, match=r"reports_guard\.jsonl tells of 2 steps, 1 were taken"):
            defender.restore(tmp_path)


def test_a_saved_guard_is_an_adapter_as_peft_stores_it(
    base: Base, examples: Examples, plan: TrainingPlan, tmp_path: Path
) -> None:
    with Defender(base, examples, plan) as defender:
        defender.step()
        defender.save(tmp_path)
    save_adapter(base, "guard", tmp_path / "peft")
    (tmp_path / "guard.safetensors").replace(tmp_path / "peft" / "adapter_model.safetensors")
    load_adapter(base, "again", tmp_path / "peft")
    assert torch.equal(AdapterVector(base, "again").read(), AdapterVector(base, "guard").read())


def test_a_state_of_another_plan_is_refused_in_one_sentence(
    base: Base, examples: Examples, plan: TrainingPlan, tmp_path: Path
) -> None:
    with Defender(base, examples, plan) as defender:
        defender.save(tmp_path)
    with (
        Defender(base, examples, plan.model_copy(update={"alpha": 3.0})) as other,
        pytest.raises(InputError, match="restore the plan"),
    ):
        other.restore(tmp_path)


@pytest.mark.parametrize(
    "name", ["guard.safetensors", "optim_guard.safetensors", "reports_guard.jsonl", "trainer_state.json"]
)
def test_a_torn_state_is_refused(name: str, base: Base, examples: Examples, plan: TrainingPlan, tmp_path: Path) -> None:
    with Defender(base, examples, plan) as defender:
        defender.step()
        defender.save(tmp_path)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(InputError, match="no whole training state"):
            defender.restore(tmp_path)


def test_rerouting_turns_states_away_while_retained_ones_stay(
    base: Base, examples: Examples, plan: TrainingPlan
) -> None:
    longer = plan.model_copy(update={"steps": 40, "learning_rate": 2e-2})
    with Defender(base, examples, longer) as defender:
        reports = list(train(defender))
    assert reports[0].cosine > 0.95
    assert reports[-1].cosine < 0.6
    assert reports[-1].warning == ""
    assert all(report.tokens > 0 and report.gradient_norm > 0 for report in reports)


def test_a_training_that_does_not_start_says_so_once(base: Base, examples: Examples, plan: TrainingPlan) -> None:
    dead = plan.model_copy(update={"init_std": 0.0, "learning_rate": 1e-6})
    with Defender(base, examples, dead) as defender:
        warnings = [report for report in train(defender) if report.warning]
    assert [report.step for report in warnings] == [5]
    assert "raise init_std (now 0.0)" in warnings[0].warning


@pytest.mark.parametrize("loss", ["rmu", "random", "triplet", "distance"])
def test_every_rerouting_loss_goes_down_and_knows_a_cosine_only_where_it_asks_for_one(
    loss: str, base: Base, examples: Examples, plan: TrainingPlan, tmp_path: Path
) -> None:
    chosen = plan.model_copy(update={"rerouting_loss": loss, "learning_rate": 2e-2, "retain_batch": 0, "twin_batch": 0})
    with Defender(base, examples, chosen) as defender:
        reports = list(train(defender))
        defender.save(tmp_path)
        defender.restore(tmp_path)
        assert defender.reports == reports
    assert reports[-1].rerouting < 0.9 * reports[0].rerouting
    assert not any(report.warning for report in reports)
    assert {report.cosine is None for report in reports} == {loss in ("rmu", "random")}


@pytest.mark.parametrize("loss", ["rmu", "triplet"])
def test_a_loss_without_a_stationary_point_is_watched_by_its_own_fall(
    loss: str, base: Base, examples: Examples, plan: TrainingPlan
) -> None:
    slow = plan.model_copy(update={"rerouting_loss": loss, "learning_rate": 1e-7})
    with Defender(base, examples, slow) as defender:
        warnings = [report for report in train(defender) if report.warning]
    assert [report.step for report in warnings] == [5]
    assert f"its loss is still {warnings[0].rerouting:.3f}" in warnings[0].warning


def test_the_frozen_base_is_untouched(base: Base, examples: Examples, plan: TrainingPlan) -> None:
    ids = torch.tensor([examples[0].ids])
    before = base.model(ids).logits
    trained(base, examples, plan)
    with using(base, None):
        assert torch.equal(base.model(ids).logits, before)


def test_a_gradient_that_is_not_finite_stops_before_the_adapter_is_hurt(
    base: Base, examples: Examples, plan: TrainingPlan
) -> None:
    with Defender(base, examples, plan) as defender:
        before = defender.state()
        with pytest.raises(ModelError, match="lower the learning rate"):
            defender._optimizer.step(torch.full_like(defender._optimizer.vector, float("nan")), 1e-3)
        assert equal(defender.state().adapter, before.adapter)


SCRIPT = """
import sys
from pathlib import Path
from tsgb.breakers.examples import load_examples
from tsgb.models.loading import load_base
from tsgb.training.defender import Defender, train
from tsgb.training.plan import TrainingPlan
import multiprocessing

if __name__ == "__main__":
    model, sets, plan = map(Path, sys.argv[1:])
    plan = TrainingPlan.model_validate_json(plan.read_text())
    with Defender(load_base(model), load_examples(sets.read_bytes()), plan, processes=2) as defender:
        for report in train(defender):
            print(*[child.pid for child in multiprocessing.active_children()], flush=True)
"""


def test_a_killed_training_leaves_no_helper_behind(
    tiny_model_path: Path, examples: Examples, plan: TrainingPlan, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "sets.jsonl").write_bytes(dump_examples(examples))
    (tmp_path / "plan.json").write_text(json.dumps(plan.model_dump() | {"steps": 10**6}))
    arguments = [tmp_path / "train.py", tiny_model_path, tmp_path / "sets.jsonl", tmp_path / "plan.json"]
    process = subprocess.Popen([sys.executable, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    helper = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 10
    while _alive(helper) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(helper)


def test_a_helper_that_is_killed_ends_the_training_with_a_cure(
    base: Base, examples: Examples, plan: TrainingPlan
) -> None:
    with Defender(base, examples, plan, processes=2) as defender:
        defender.step()
        for child in multiprocessing.active_children():
            child.kill()
        with pytest.raises(SettingsError, match=r"set run\.processes to 1"):
            list(train(defender))


def _alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_reports_say_what_was_weighed(base: Base, examples: Examples, plan: TrainingPlan) -> None:
    with Defender(base, examples, plan) as defender:
        reports: list[StepReport] = list(train(defender))
    assert reports[0].rerouting_weight == plan.alpha
    assert reports[0].retain_weight == 0
    assert all(report.rerouting_weight + report.retain_weight == pytest.approx(plan.alpha) for report in reports)
    assert reports[0].twin > 0
