"""A step's gradient is that of the losses its plan asks for, and does not depend on how the step is cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import get_args

import pytest
import torch
import torch.nn.functional as F

from tsgb.breakers.representations import LAST, hidden_states, logits, padded
from tsgb.models.loading import Base, using
from tsgb.records.recipe import ReroutingLoss
from tsgb.records.training import Example
from tsgb.training.engine import fresh_adapter
from tsgb.training.parts import cut, micro_batches
from tsgb.training.plan import TrainingPlan, by_stratum, draw
from tsgb.training.references import References
from tsgb.training.step import PartWorker
from tsgb.training.vector import AdapterVector

CHOICES: tuple[dict[str, object], ...] = (
    {"rerouting_loss": "rmu"},
    {"rerouting_loss": "random"},
    {"rerouting_loss": "triplet"},
    {"rerouting_loss": "distance"},
    {"retain_loss": "kl"},
    {"twin_loss": "cross_entropy"},
    {"twin_loss": "hidden"},
    {"twin_hard": 0.5},
    {"boundary_batch": 2},
    {"weighting": "single_alpha"},
    {"decay": "cosine"},
    {"decay_multiplier": 1.0},
    {"layers": (1,), "mode": "upstream", "padded_tokens": 200},
)


def whole_gradient(base: Base, plan: TrainingPlan, examples: tuple[Example, ...]) -> torch.Tensor:
    fresh_adapter(base, "guard", plan)
    worker = PartWorker(base, "guard", plan, by_stratum(examples))
    vector = AdapterVector(base, "guard").read()
    return sum((worker.gradient(5, part, vector).gradient for part in range(plan.parts)), torch.zeros(()))


@pytest.mark.parametrize("cutting", [{"parts": 1, "micro_tokens": 10**6}, {"parts": 3, "micro_tokens": 1}])
def test_micro_batches_and_parts_do_not_change_the_gradient(
    cutting: dict[str, int], base: Base, plan: TrainingPlan, examples: tuple[Example, ...]
) -> None:
    expected = whole_gradient(base, plan, examples)
    assert expected.norm() > 1e-3
    torch.testing.assert_close(whole_gradient(base, plan.model_copy(update=cutting), examples), expected)


@pytest.mark.parametrize(
    "way",
    [
        {"packed": True},
        {"packed": True, "micro_tokens": 10**6},
        {"packed": True, "keep_references": False, "micro_tokens": 300},
        {"keep_references": False},
        {"recompute": True},
        {"fused_lora": True},
        {"packed": True, "keep_references": False, "recompute": True, "fused_lora": True},
    ],
    ids=lambda way: "-".join(way),
)
def test_how_a_step_is_computed_does_not_change_its_gradient(
    way: dict[str, int | bool], base: Base, plan: TrainingPlan, examples: tuple[Example, ...]
) -> None:
    expected = whole_gradient(base, plan, examples)
    torch.testing.assert_close(
        whole_gradient(base, plan.model_copy(update=way), examples), expected, atol=1e-5, rtol=1e-5
    )


def test_recomputing_changes_no_bit(base: Base, plan: TrainingPlan, examples: tuple[Example, ...]) -> None:
    expected = whole_gradient(base, plan, examples)
    assert torch.equal(whole_gradient(base, plan.model_copy(update={"recompute": True}), examples), expected)


def test_packed_kinds_that_need_the_same_blocks_share_a_pass(
    base: Base, plan: TrainingPlan, examples: tuple[Example, ...]
) -> None:
    passes: list[tuple[int, ...]] = []
    base.model.base_model.register_forward_pre_hook(
        lambda _, args, kwargs: passes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    whole = {"parts": 1, "micro_tokens": 10**6, "packed": True, "keep_references": False}
    whole_gradient(base, plan.model_copy(update=whole), examples)
    assert len(passes) == 4  # breakers up to their layer, retain and twins to the last, adapted and frozen each
    assert all(rows == 1 for rows, _ in passes)


@pytest.mark.parametrize("kind", ["breaker", "retain", "twin"])
def test_every_loss_reaches_the_adapter(
    kind: str, base: Base, plan: TrainingPlan, examples: tuple[Example, ...]
) -> None:
    only = {f"{each}_batch": 3 if each == kind else 0 for each in ("breaker", "retain", "twin")}
    assert whole_gradient(base, plan.model_copy(update=only), examples).norm() > 1e-4


def test_a_reference_has_the_same_bits_whether_kept_or_computed_again(
    base: Base, plan: TrainingPlan, examples: tuple[Example, ...]
) -> None:
    kept, forgetful = References(base, plan), References(base, plan, limit=0)
    for example in examples:
        first = kept.of([example])[example.kind]
        assert torch.equal(kept.of([example])[example.kind], first)
        assert torch.equal(forgetful.of([example])[example.kind], first)


@pytest.mark.parametrize("name", get_args(ReroutingLoss))
def test_at_zero_an_adapter_has_no_way_to_start_by_cosines_alone(
    name: ReroutingLoss, base: Base, plan: TrainingPlan, examples: tuple[Example, ...]
) -> None:
    """The distance loss has none either where states are equal to the last bit; rounding errors give it one."""
    dead = plan.model_copy(update={"init_std": 0.0, "retain_batch": 0, "twin_batch": 0, "rerouting_loss": name})
    norm = whole_gradient(base, dead, examples).norm()
    assert norm < 1e-4 if name == "cosine" else norm > 1e-2
    assert whole_gradient(base, dead.model_copy(update={"init_std": 0.02}), examples).norm() > 1e-3


@pytest.mark.parametrize("changes", CHOICES, ids=str)
def test_every_choice_of_loss_reaches_the_adapter_however_the_step_is_cut(
    changes: dict[str, object], base: Base, plan: TrainingPlan, examples: tuple[Example, ...]
) -> None:
    chosen = plan.model_copy(update=changes)
    expected = whole_gradient(base, chosen, examples)
    assert (expected - whole_gradient(base, plan, examples)).norm() > 1e-3
    cut = chosen.model_copy(update={"parts": 3, "micro_tokens": 1})
    torch.testing.assert_close(whole_gradient(base, cut, examples), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [{"rerouting_loss": "rmu"}, {"rerouting_loss": "random"}, {"twin_loss": "cross_entropy"}, {"twin_hard": 1.0}],
    ids=str,
)
def test_losses_that_need_no_frozen_states_pay_for_none(
    changes: dict[str, object],
    base: Base,
    plan: TrainingPlan,
    examples: tuple[Example, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = set[str]()
    compute = References._compute
    monkeypatch.setattr(
        References, "_compute", lambda self, some: asked.update(one.kind for one in some) or compute(self, some)
    )
    whole_gradient(base, plan.model_copy(update=changes), examples)
    free = "breaker" if "rerouting_loss" in changes else "twin"
    assert asked == {"breaker", "retain", "twin"} - {free}


def test_the_default_loss_is_the_three_formulas_to_the_last_bit(
    base: Base, plan: TrainingPlan, examples: tuple[Example, ...]
) -> None:
    fresh_adapter(base, "guard", plan)
    strata, vector = by_stratum(examples), AdapterVector(base, "guard").read()
    for step in (0, 5, 11):
        worker = PartWorker(base, "guard", plan, strata)
        for part in range(plan.parts):
            gradient = worker.gradient(step, part, vector).gradient
            assert torch.equal(gradient, written_out(base, plan, draw(plan, strata, step), step, part))


def written_out(base: Base, plan: TrainingPlan, drawn: Sequence[Example], step: int, part: int) -> torch.Tensor:
    """The default recipe without any choice in it."""
    progress = step / (2 * plan.steps)
    weights = {"breaker": plan.alpha * (1 - progress), "retain": plan.alpha * progress, "twin": plan.alpha}
    sizes = {"breaker": len(plan.layers), "retain": len(plan.retain_layers), "twin": 1}
    tokens = Counter[str]()
    for example in drawn:
        tokens[example.kind] += sum(example.mask)
    references = References(base, plan)
    with using(base, "guard") as model:
        for batch in micro_batches(cut(drawn, plan.parts)[part], plan.micro_tokens):
            kind = batch[0].kind
            ids, mask = padded([each.ids for each in batch]), padded([each.mask for each in batch])
            frozen = references.of(batch)[batch[0].kind]
            if kind == "twin":
                hidden = hidden_states(model, ids, [LAST])[0, :, :-1][mask[:, 1:]]
                log_probs = F.log_softmax(logits(model, hidden).float(), dim=-1)
                loss = F.kl_div(log_probs, frozen, log_target=True, reduction="sum")
            else:
                hidden = hidden_states(model, ids, plan.layers if kind == "breaker" else plan.retain_layers)[:, mask]
                if kind == "breaker":
                    loss = torch.relu(F.cosine_similarity(hidden, frozen, dim=-1, eps=1e-6)).sum()
                else:
                    loss = torch.linalg.vector_norm(hidden - frozen, dim=-1).sum()
            (weights[kind] / (sizes[kind] * tokens[kind]) * loss).backward()
    return AdapterVector(base, "guard").take_gradient()
