"""The upstream mode is the released code of arXiv 2406.04313: compared with a plain rewriting of its loss.

The rewriting stands below: four whole forwards of a model cut above the highest target layer, everything padded, all
hidden states stacked and multiplied by masks. It shares no code with the package but the base that it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tsgb.errors import InputError, ModelError
from tsgb.models.loading import Base, using
from tsgb.records.training import Example, Kind
from tsgb.training.defender import Defender
from tsgb.training.engine import fresh_adapter
from tsgb.training.plan import TrainingPlan, by_stratum, draw
from tsgb.training.step import PartWorker
from tsgb.training.terms import coefficients, count
from tsgb.training.vector import AdapterVector

WIDTH = 24
ALPHA = 10.0
TARGETS = (1, 2)
VOCABULARY = 50


@dataclass(frozen=True)
class Case:
    """What differs between the comparisons."""

    seed: int = 0
    batch: int = 4
    accumulation: int = 1
    step: int = 20
    masked: float = 1.0
    """Share of tokens that a loss looks at."""
    padding: str = "left"
    parts: int = 2
    micro_tokens: int = 60


CASES = (
    Case(),
    Case(seed=1, step=0),
    Case(seed=2, masked=0.5),
    Case(seed=3, padding="right", masked=0.7),
    Case(seed=4, accumulation=2),
    Case(seed=5, accumulation=4, batch=8, masked=0.4, step=60),
    Case(seed=6, parts=1, micro_tokens=10**6),
    Case(seed=7, parts=3, micro_tokens=1, accumulation=2, padding="right"),
)


def random_base(seed: int, tokenizer: PreTrainedTokenizerFast, blocks: int = 5) -> Base:
    """A random Llama with grouped queries."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=blocks,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            initializer_range=0.2,
            attn_implementation="eager",
        )
        model = LlamaForCausalLM(config)
    model.requires_grad_(False).train(False)
    return Base(model, tokenizer, f"random-{seed}", str(seed))


def random_examples(case: Case) -> tuple[Example, ...]:
    generator = torch.Generator().manual_seed(case.seed)
    return tuple(random_example(kind, n, case, generator) for kind in ("breaker", "retain") for n in range(9))


def random_example(kind: Kind, number: int, case: Case, generator: torch.Generator) -> Example:
    length = int(torch.randint(5, WIDTH + 1, (), generator=generator))
    ids = torch.randint(1, VOCABULARY, (length,), generator=generator).tolist()
    mask = (torch.rand(length, generator=generator) < case.masked).tolist()
    mask[-1] = True
    return Example(id=f"{kind}{number}", kind=kind, stratum=f"{kind}/any", ids=tuple(ids), mask=tuple(mask))


def plan_of(case: Case) -> TrainingPlan:
    return TrainingPlan(
        mode="upstream",
        steps=70,
        breaker_batch=case.batch,
        retain_batch=case.batch,
        twin_batch=0,
        alpha=ALPHA,
        layers=TARGETS,
        adapter_layers=(0, 1, 2),
        rank=4,
        lora_alpha=4,
        accumulation=case.accumulation,
        padded_tokens=WIDTH,
        parts=case.parts,
        micro_tokens=case.micro_tokens,
        seed=case.seed,
    )


def batches(drawn: Sequence[Example], accumulation: int) -> Iterator[tuple[list[Example], list[Example]]]:
    """The released code's micro-batches: as many breakers as retained dialogues in each."""
    kinds = {kind: list(members) for kind, members in groupby(drawn, lambda example: example.kind)}
    for micro in range(accumulation):
        yield kinds["breaker"][micro::accumulation], kinds["retain"][micro::accumulation]


def padded_to_width(examples: Sequence[Example], side: str) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, attention and chosen tokens, each (batch, WIDTH)."""
    ids, attention, chosen = (torch.zeros(len(examples), WIDTH, dtype=torch.long) for _ in range(3))
    for row, example in enumerate(examples):
        length = len(example.ids)
        where = slice(WIDTH - length, WIDTH) if side == "left" else slice(0, length)
        ids[row, where] = torch.tensor(example.ids)
        attention[row, where] = 1
        chosen[row, where] = torch.tensor(example.mask).long()
    return ids, attention, chosen


def all_states(model: LlamaForCausalLM, ids: Tensor, attention: Tensor) -> tuple[Tensor, ...]:
    return model(input_ids=ids, attention_mask=attention, output_hidden_states=True).hidden_states


def plain_losses(
    base: Base, breakers: Sequence[Example], retained: Sequence[Example], side: str
) -> tuple[Tensor, Tensor]:
    """What the released `compute_loss` computes of a micro-batch: its rerouting and its retain loss."""
    r_ids, r_attention, r_chosen = padded_to_width(retained, side)
    b_ids, b_attention, b_chosen = padded_to_width(breakers, side)
    with torch.no_grad(), using(base, None):
        r_before = torch.stack(all_states(base.model, r_ids, r_attention))
        b_before = torch.stack([all_states(base.model, b_ids, b_attention)[layer] for layer in TARGETS])
    r_now = torch.stack(all_states(base.model, r_ids, r_attention))
    b_now = torch.stack([all_states(base.model, b_ids, b_attention)[layer] for layer in TARGETS])
    r_mask = r_chosen.repeat(len(r_now), 1, 1).unsqueeze(-1)
    b_mask = b_chosen.repeat(len(TARGETS), 1, 1).unsqueeze(-1)
    retain = torch.norm(r_now * r_mask - r_before * r_mask, dim=-1, p=2, dtype=torch.float).nanmean()
    unit_now = b_now / torch.norm(b_now, dim=-1, keepdim=True, dtype=torch.float)
    unit_before = b_before / torch.norm(b_before, dim=-1, keepdim=True, dtype=torch.float)
    rerouting = torch.relu((unit_now * unit_before * b_mask).sum(dim=-1)).sum() / b_mask.sum()
    return rerouting, retain


def plain_step(base: Base, case: Case, drawn: Sequence[Example]) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """The losses of every micro-batch, and the gradient that a trainer accumulates over them."""
    blocks = base.model.config.num_hidden_layers
    base.model.config.num_hidden_layers = max(TARGETS) + 1
    seen, counter = [], case.step * case.accumulation
    with using(base, "guard"):
        for breakers, retained in batches(drawn, case.accumulation):
            counter += 1
            rerouting, retain = plain_losses(base, breakers, retained, case.padding)
            progress = counter / 300
            loss = ALPHA * progress * retain + ALPHA * (1 - progress) * rerouting
            (loss / case.accumulation).backward()
            seen.append((rerouting.detach(), retain.detach()))
    base.model.config.num_hidden_layers = blocks
    return seen, AdapterVector(base, "guard").take_gradient()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_losses_and_gradients_are_those_of_the_released_code(case: Case, tokenizer: PreTrainedTokenizerFast) -> None:
    base, plan, examples = random_base(case.seed, tokenizer), plan_of(case), random_examples(case)
    fresh_adapter(base, "guard", plan)
    seen, expected = plain_step(base, case, draw(plan, by_stratum(examples), case.step))
    worker, vector = PartWorker(base, "guard", plan, by_stratum(examples)), AdapterVector(base, "guard").read()
    parts = [worker.gradient(case.step, part, vector) for part in range(plan.parts)]
    gradient = sum((part.gradient for part in parts), torch.zeros(()))
    assert float((gradient - expected).abs().max() / expected.abs().max()) < 1e-5
    if case.accumulation == 1:
        [(rerouting, retain)] = seen
        for kind, loss in (("breaker", rerouting), ("retain", retain)):
            terms = sum(part.sums.get(f"{kind}_count", 0) for part in parts)
            assert f"{sum(part.sums.get(kind, 0) for part in parts) / terms:.4f}" == f"{float(loss):.4f}"


def test_the_papers_mode_is_another_one(tokenizer: PreTrainedTokenizerFast) -> None:
    case = Case()
    base, plan, examples = random_base(0, tokenizer), plan_of(case), random_examples(case)
    fresh_adapter(base, "guard", plan)
    vector = AdapterVector(base, "guard").read()
    paper = plan.model_copy(update={"mode": "paper", "retain_layers": TARGETS})
    gradients = [
        PartWorker(base, "guard", each, by_stratum(examples)).gradient(case.step, 0, vector).gradient
        for each in (plan, paper)
    ]
    assert float((gradients[0] - gradients[1]).norm() / gradients[0].norm()) > 0.01


def test_the_weights_of_the_modes_convert_as_the_recipe_says(tokenizer: PreTrainedTokenizerFast) -> None:
    """With the same states retained, upstream's α is the paper's times the share of real tokens, a pass later."""
    case = Case(batch=9)
    base, examples = random_base(0, tokenizer, blocks=3), random_examples(case)
    upstream = plan_of(case).model_copy(update={"breaker_batch": 0})
    passes = {"steps": 70, "decay_multiplier": 300 / 70, "retain_layers": (0, 1, 2, -1)}
    paper = upstream.model_copy(update={"mode": "paper", **passes})
    fresh_adapter(base, "guard", paper)
    vector, fill = AdapterVector(base, "guard").read(), sum(len(each.ids) for each in examples[9:]) / (9 * WIDTH)
    of_upstream, of_paper = (
        sum(
            PartWorker(base, "guard", plan, by_stratum(examples)).gradient(step, part, vector).gradient
            for part in range(2)
        )
        for plan, step in ((upstream, 20), (paper, 21))
    )
    torch.testing.assert_close(of_upstream, fill * of_paper, rtol=1e-4, atol=1e-5)


def test_a_training_goes_through_in_the_upstream_mode(tokenizer: PreTrainedTokenizerFast) -> None:
    case = Case(accumulation=2)
    with Defender(random_base(0, tokenizer), random_examples(case), plan_of(case)) as defender:
        reports = [defender.step() for _ in range(3)]
    assert [each.rerouting_weight for each in reports] == [ALPHA * (1 - n / 300) for n in (1, 3, 5)]


def test_what_the_released_code_cannot_do_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    plan, examples = plan_of(Case(accumulation=4)), random_examples(Case())
    with pytest.raises(InputError, match="pass 301"):
        coefficients(plan, 75)
    with pytest.raises(InputError, match=r"raise breaker\.padded_tokens"):
        count(plan.model_copy(update={"padded_tokens": 4}), "retain", examples[9:])
    shallow = random_base(0, tokenizer, blocks=2)
    with (
        Defender(shallow, examples, plan.model_copy(update={"adapter_layers": (0, 1)})) as defender,
        pytest.raises(ModelError, match="has no layer 3"),
    ):
        defender.step()
