"""What a run refuses before it begins, and what it leaves out when there is nothing of it."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from tsgb.errors import ModelError, SettingsError
from tsgb.models.loading import Base, load_base
from tsgb.records.training import Example, Kind
from tsgb.rollouts.players import BASE, Players, Stage
from tsgb.settings import load_settings
from tsgb.training.defender import Defender, train
from tsgb.training.plan import TrainingPlan
from tsgb.worker.fresh import fresh_attackers
from tsgb.worker.harden import possible_plan
from tsgb.worker.local import require_usable
from tsgb.worker.search import Budget

KINDS: tuple[Kind, ...] = ("breaker", "retain", "twin")
"""Those that the default settings draw."""


@pytest.fixture
def base(tiny_model_path: object) -> Base:
    return load_base(str(tiny_model_path))


def example(kind: Kind) -> Example:
    ids, mask = (7, 8, 9), (False, True, True)
    tokens = {"ids": ids, "mask": mask, "reference_ids": ids, "reference_mask": mask}
    return Example(id=kind, kind=kind, stratum=f"{kind}/any", **tokens)


def test_a_weight_of_rerouting_that_no_plan_takes_is_refused_with_the_settings() -> None:
    with pytest.raises(SettingsError, match="rerouting_alpha is 0"):
        load_settings(None, {"breaker.rerouting_alpha": 0})


def test_blocks_that_a_model_has_not_are_refused_before_a_run_begins(base: Base) -> None:
    require_usable(base, load_settings(None, {"breaker.adapter_layers": (0, 2), "breaker.target_layers": (2,)}))
    with pytest.raises(ModelError, match=r"Blocks \[0, 9\] cannot carry an adapter.*blocks 0 to 2"):
        require_usable(base, load_settings(None, {"breaker.adapter_layers": (0, 9), "breaker.target_layers": (2,)}))


def test_upstream_wants_a_block_above_its_targets_before_a_run_begins(base: Base) -> None:
    upstream = {"breaker.mode": "upstream", "breaker.steps": 100, "breaker.adapter_layers": (0, 1)}
    require_usable(base, load_settings(None, {**upstream, "breaker.target_layers": (1, 2)}))
    with pytest.raises(ModelError, match="has no layer 4"):
        require_usable(base, load_settings(None, {**upstream, "breaker.target_layers": (2, 3)}))


def test_a_template_that_knows_no_tool_is_refused_before_a_run_begins(base: Base) -> None:
    assert isinstance(base.tokenizer, PreTrainedTokenizerFast)
    mute = "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    base.tokenizer.chat_template = mute + "<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    with pytest.raises(ModelError):
        require_usable(base, load_settings(None, {"breaker.target_layers": (2,)}))


def test_without_generations_mutation_has_no_rate(tiny_model_path: object) -> None:
    players = Players(Stage(str(tiny_model_path), max_turns=1, max_new_tokens=2))
    budget = Budget(generations=0, iterations=0, max_new_tokens=2)
    assert set(fresh_attackers(players, BASE, budget, seed="1", exam=2)) == {"fresh_policy"}


@pytest.mark.parametrize("absent", [("breaker",), ("retain",), ("breaker", "twin"), KINDS])
def test_a_kind_without_examples_is_left_out_and_said(base: Base, absent: tuple[Kind, ...]) -> None:
    examples, said = [example(kind) for kind in KINDS if kind not in absent], list[str]()
    whole = TrainingPlan(
        steps=1, breaker_batch=2, retain_batch=2, twin_batch=2, layers=(1, 2), retain_layers=(2,), adapter_layers=(0,)
    )
    plan = possible_plan(whole, examples, said.append)
    assert [plan.batch(kind) for kind in KINDS] == [0 if kind in absent else 2 for kind in KINDS]
    assert said == [f"There are no {kind} examples so far: this round trains without them." for kind in absent]
    with Defender(base, examples, plan) as defender:
        assert [report.step for report in train(defender)] == [1]
