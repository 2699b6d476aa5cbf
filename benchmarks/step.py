"""What a circuit-breaker step costs, from the way the reference code works to ours, on the same sequences.

    python benchmarks/step.py                                   (minutes: every table at 1/16 of Llama-3-8B's width)
    python benchmarks/step.py --only stages --repeats 7
    python benchmarks/step.py --device cuda --size 8b           (Llama-3-8B's shapes in bf16, random weights)

| table | what is measured |
|---|---|
| stages | one step, each row with one thing more changed: seconds, how many times the reference, peak memory, losses |
| shares | where each row's time goes: data, reference, forward, backward, optimizer step |
| floor | the step against its matrix products on real tokens alone, at the speed at which this machine multiplies |
| scaling | tokens a second and peak memory against sequence length and batch, the reference and ours |
| budget | peak memory against `breaker.micro_tokens`, with and without `breaker.recompute` |

The reference is written here as the released code of "Improving Alignment and Robustness with Circuit Breakers" works:
21 of 32 blocks, four forward passes padded to the full length through the LM head with all hidden states kept,
rerouting at layers 10 and 20, retaining at all 22 hidden states, blocks recomputed in the backward pass. Two things
are ours, so that the losses can be compared digit by digit: no dropout, and a mean over real tokens alone.
Seconds are CPU seconds of one thread on a CPU, else wall seconds; each is the lowest of the repeats, which take turns.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerBase

from tsgb.breakers.losses import cosines
from tsgb.breakers.representations import LAST, padded
from tsgb.cli.output import print_rows
from tsgb.models.loading import Base, adapter_parameters, using
from tsgb.models.recompute import recomputed
from tsgb.records.training import Example, Kind
from tsgb.training import step as step_module
from tsgb.training.engine import fresh_adapter
from tsgb.training.forward import Forward
from tsgb.training.optimizer import AdapterOptimizer
from tsgb.training.plan import TrainingPlan, by_stratum
from tsgb.training.references import References
from tsgb.training.step import PartWorker
from tsgb.training.terms import coefficients
from tsgb.training.vector import AdapterVector

Row = dict[str, Any]
STEP = 60
"""Which of the 150 steps: both losses weigh something."""
FILLS: Mapping[Kind, float] = {"breaker": 0.35, "retain": 0.31}
"""Real tokens among padded ones, as in the reference's data."""
PHASES = ("data", "reference", "forward", "backward", "step")
CARD_GIB = 24
"""Memory of the cards that the budget table has in mind."""


@dataclass(frozen=True)
class Size:
    """A model's shapes and the reference's sequence length."""

    hidden: int
    intermediate: int
    heads: int
    key_heads: int
    vocabulary: int
    length: int
    dtype: torch.dtype
    blocks: int = 21

    def config(self) -> LlamaConfig:
        """Llama's configuration of this size."""
        return LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.intermediate,
            num_hidden_layers=self.blocks,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_heads,
            max_position_embeddings=8192,
        )


SIZES = {
    "narrow": Size(256, 896, 8, 2, 8000, 128, torch.float32),
    "8b": Size(4096, 14336, 32, 8, 128256, 1024, torch.bfloat16),
}


@dataclass(frozen=True)
class Stage:
    """One way to compute the step."""

    name: str
    head: bool = False
    trimmed: bool = True
    plan: Mapping[str, bool] | None = None
    """What is changed in the plan; None: the reference's way."""


STAGES = (
    Stage("reference", head=True, trimmed=False),
    Stage("no LM head", trimmed=False),
    Stage("trimmed to the longest"),
    Stage("packed", plan={"recompute": True}),
    Stage("no recomputing", plan={}),
    Stage("fused LoRA", plan={"fused_lora": True}),
    Stage("references kept", plan={"fused_lora": True, "keep_references": True}),
)


def main() -> None:
    """Measure what was asked for, one table each."""
    arguments = parse()
    torch.set_num_threads(1)
    bench = Bench(SIZES[arguments.size], torch.device(arguments.device), arguments)
    for name in arguments.only:
        print_rows(TABLES[name](bench), as_json=arguments.json, title=name)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--size", choices=SIZES, default="narrow")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=16, help="breakers in a step, and as many retained dialogues")
    parser.add_argument("--micro-tokens", type=int, default=8192, help="as breaker.micro_tokens")
    parser.add_argument("--repeats", type=int, default=3, help="steps of each kind, of which the fastest counts")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


@dataclass
class Clock:
    """Seconds by phase, of one thread on a CPU, or of a GPU that has finished its work."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _inside: bool = False

    def now(self) -> float:
        """Seconds since some moment."""
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize(self.device)
        return time.perf_counter()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the block as this phase's, unless it is part of another."""
        if self._inside:
            yield
            return
        begin, self._inside = self.now(), True
        yield
        self._inside = False
        self.seconds[name] += self.now() - begin

    @contextmanager
    def watching(self, owner: Any, function: str, name: str) -> Iterator[None]:
        """Count every call of a function as this phase's, until the block ends."""
        original = getattr(owner, function)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.phase(name):
                return original(*args, **kwargs)

        setattr(owner, function, timed)
        try:
            yield
        finally:
            setattr(owner, function, original)


class Losses(NamedTuple):
    """Means over real tokens and layers."""

    rerouting: float
    retain: float


@dataclass(frozen=True)
class Outcome:
    """What one step took, and what it found."""

    seconds: float
    phases: Mapping[str, float]
    peak: int
    """Bytes that it needed on top of weights and adapter."""
    losses: Losses
    gradient: Tensor


class Memory:
    """How many bytes a stretch of work needed on top of what was held before."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._before = device, 0

    def start(self) -> None:
        """Forget earlier peaks; on Linux proc(5) clear_refs does so for resident memory."""
        if self._device.type != "cpu":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
            return
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        self._before = self._resident()

    def needed(self) -> int:
        """Bytes since `start`, at their peak."""
        if self._device.type != "cpu":
            return torch.cuda.max_memory_allocated(self._device) - self._before
        return self._resident() - self._before

    def _resident(self) -> int:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])


class Bench:
    """A model with its adapter, and the ways to take a step on it."""

    def __init__(self, size: Size, device: torch.device, arguments: argparse.Namespace) -> None:
        self.size, self.arguments = size, arguments
        with torch.device(device):
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(size.config(), dtype=size.dtype)
        self.base = Base(model.requires_grad_(False).train(False), PreTrainedTokenizerBase(), "random", "")
        fresh_adapter(self.base, "guard", self.plan())
        self.memory, self.start = Memory(device), AdapterVector(self.base, "guard").read()

    def plan(self, **changes: Any) -> TrainingPlan:
        """The reference's hyper-parameters, packed."""
        plan: Row = {
            "steps": 150,
            "breaker_batch": self.arguments.batch,
            "retain_batch": self.arguments.batch,
            "twin_batch": 0,
            "layers": (10, 20),
            "retain_layers": (*range(self.size.blocks), LAST),
            "adapter_layers": tuple(range(self.size.blocks)),
            "rank": 16,
            "lora_alpha": 16,
            "parts": 1,
            "micro_tokens": self.arguments.micro_tokens,
            "packed": True,
            "keep_references": False,
        }
        return TrainingPlan.model_validate(plan | changes)

    def examples(self, batch: int, length: int) -> list[Example]:
        """As many breakers as retained dialogues, of lengths that fill `length` as the reference's data does."""
        generator = torch.Generator().manual_seed(0)
        return [
            _example(kind, number, tokens, self.size.vocabulary, generator)
            for kind, fill in FILLS.items()
            for number, tokens in enumerate(_lengths(batch, length, fill, generator))
        ]

    def way(self, stage: Stage, examples: Sequence[Example], length: int, **changes: int) -> Way:
        """A stage's way to take a step on these examples."""
        batch = {"breaker_batch": len(examples) // 2, "retain_batch": len(examples) // 2}
        plan = self.plan(**batch, **(stage.plan or {}), **changes)
        if stage.plan is None:
            return ReferenceWay(self.base, plan, examples, length, stage)
        return OurWay(self.base, plan, examples)

    def take(self, way: Way) -> Outcome:
        """One step from the adapter's start."""
        optimizer = AdapterOptimizer(self.base, "guard", betas=(0.9, 0.999), clip=1.0)
        optimizer.adapter.write(self.start)
        clock = Clock(self.base.model.device)
        self.memory.start()
        begin = clock.now()
        losses, gradient = way.gradient(clock, self.start)
        with clock.phase("step"):
            optimizer.step(gradient, 1e-4)
        return Outcome(clock.now() - begin, dict(clock.seconds), self.memory.needed(), losses, gradient)


class Way(Protocol):
    """How a step's losses and gradient are computed."""

    def gradient(self, clock: Clock, vector: Tensor) -> tuple[Losses, Tensor]:
        """Both at an adapter `vector`."""


class ReferenceWay:
    """The reference's work, with as much of it left out as a stage says."""

    def __init__(self, base: Base, plan: TrainingPlan, examples: Sequence[Example], length: int, stage: Stage) -> None:
        self._base, self._plan, self._examples, self._stage = base, plan, examples, stage
        self._length, self._adapter = length, AdapterVector(base, "guard")

    def gradient(self, clock: Clock, vector: Tensor) -> tuple[Losses, Tensor]:
        """Four forward passes and one backward pass."""
        with clock.phase("data"):
            retain, breaker = (self._padded(kind) for kind in ("retain", "breaker"))
        with clock.phase("reference"), torch.no_grad(), using(self._base, None):
            frozen_retain, frozen_breaker = self._states("retain", *retain), self._states("breaker", *breaker)
        with using(self._base, "guard"), recomputed(self._base.model):
            with clock.phase("forward"):
                kept = _mean(_distances(self._states("retain", *retain), frozen_retain), retain[1])
                turned = _mean(cosines(self._states("breaker", *breaker), frozen_breaker).relu(), breaker[1])
                turn, keep = coefficients(self._plan, STEP)
            with clock.phase("backward"):
                (turn * turned + keep * kept).backward()
        return Losses(turned.item(), kept.item()), self._adapter.take_gradient()

    def _padded(self, kind: Kind) -> tuple[Tensor, Tensor]:
        """Ids and mask (batch, tokens)."""
        members = [example for example in self._examples if example.kind == kind]
        ids_BT, mask_BT = padded([each.ids for each in members]), padded([each.mask for each in members])
        missing = 0 if self._stage.trimmed else self._length - ids_BT.shape[1]
        device = self._base.model.device
        return F.pad(ids_BT, (0, missing)).to(device), F.pad(mask_BT, (0, missing)).to(device)

    def _states(self, kind: Kind, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Masked hidden states (layers, batch, tokens, hidden)."""
        model = self._base.model if self._stage.head else self._base.model.base_model
        layers = self._plan.layers if kind == "breaker" else self._plan.retain_layers
        output = model(input_ids=ids_BT, attention_mask=mask_BT, output_hidden_states=True, use_cache=False)
        return torch.stack([output.hidden_states[layer] for layer in layers]) * mask_BT[..., None]


def _distances(hidden_LBTD: Tensor, reference_LBTD: Tensor) -> Tensor:
    return torch.linalg.vector_norm(hidden_LBTD.float() - reference_LBTD.float(), dim=-1)


def _mean(values_LBT: Tensor, mask_BT: Tensor) -> Tensor:
    return (values_LBT * mask_BT).sum() / (len(values_LBT) * mask_BT.sum())


class OurWay:
    """The package's own step, watched from outside."""

    def __init__(self, base: Base, plan: TrainingPlan, examples: Sequence[Example]) -> None:
        self._worker = PartWorker(base, "guard", plan, by_stratum(examples))

    def gradient(self, clock: Clock, vector: Tensor) -> tuple[Losses, Tensor]:
        """What a training process computes."""
        watched = [
            (step_module, "draw", "data"),
            (References, "of", "reference"),
            (Forward, "read", "forward"),
            (PartWorker, "_loss", "forward"),
            (torch.autograd, "backward", "backward"),
        ]
        with ExitStack() as stack:
            for owner, name, phase in watched:
                stack.enter_context(clock.watching(owner, name, phase))
            result = self._worker.gradient(STEP, 0, vector)
        sums = result.sums
        losses = Losses(sums["breaker"] / sums["breaker_count"], sums["retain"] / sums["retain_count"])
        return losses, result.gradient


def _lengths(count: int, longest: int, fill: float, generator: torch.Generator) -> list[int]:
    """Lengths with a mean of `fill` × `longest`, the longest of them just that."""
    spread = torch.rand(count - 1, generator=generator) - 0.5
    mean = (fill * count - 1) / (count - 1)
    return [longest, *((mean + mean * (spread - spread.mean())) * longest).round().int().clamp(min=2).tolist()]


def _example(kind: Kind, number: int, tokens: int, vocabulary: int, generator: torch.Generator) -> Example:
    ids = tuple(torch.randint(0, vocabulary, (tokens,), generator=generator).tolist())
    return Example(id=f"{kind}-{number}", kind=kind, stratum=kind, ids=ids, mask=(True,) * tokens)


def stages(bench: Bench) -> list[Row]:
    """Each stage's lowest seconds, memory, losses, and how far its gradient is from the reference's."""
    outcomes = _outcomes(bench, STAGES)
    first = outcomes[STAGES[0].name]
    return [
        {
            "stage": name,
            "seconds": outcome.seconds,
            "times": f"{first.seconds / outcome.seconds:.2f} ×",
            "peak MiB": outcome.peak / 2**20,
            "rerouting": f"{outcome.losses.rerouting:.6f}",
            "retain": f"{outcome.losses.retain:.6f}",
            "gradient off by": f"{_off(outcome.gradient, first.gradient):.1e}",
        }
        for name, outcome in outcomes.items()
    ]


def shares(bench: Bench) -> list[Row]:
    """Where the time of the first and the last stages goes, in per cent."""
    chosen = (STAGES[0], *STAGES[-2:])
    return [
        {"stage": name}
        | {phase: f"{100 * outcome.phases.get(phase, 0.0) / outcome.seconds:.0f} %" for phase in PHASES}
        | {"rest": f"{100 * (1 - sum(outcome.phases.values()) / outcome.seconds):.0f} %"}
        for name, outcome in _outcomes(bench, chosen).items()
    ]


def floor(bench: Bench) -> list[Row]:
    """A step's matrix products on real tokens, and how near the last stages come to them."""
    examples = bench.examples(bench.arguments.batch, bench.size.length)
    speed = multiplications_per_second(bench.size, bench.base.model.device)
    rows: list[Row] = []
    for name, outcome in _outcomes(bench, STAGES[-2:]).items():
        flops = _flops(bench, examples, passes=2 if name == "references kept" else 3)
        rows.append(
            {
                "stage": name,
                "GFLOP": flops / 1e9,
                "GFLOP/s of this machine": speed / 1e9,
                "floor, seconds": flops / speed,
                "seconds": outcome.seconds,
                "share of the floor": f"{100 * flops / speed / outcome.seconds:.0f} %",
            }
        )
    return rows


def scaling(bench: Bench) -> list[Row]:
    """Real tokens a second and memory, against how long and how many sequences are."""
    rows: list[Row] = []
    for length in (bench.size.length // 2, bench.size.length, 2 * bench.size.length):
        for batch in (max(2, bench.arguments.batch // 4), bench.arguments.batch):
            examples = bench.examples(batch, length)
            tokens = sum(len(example.ids) for example in examples)
            outcomes = _outcomes(bench, (STAGES[0], STAGES[-2]), examples, length)
            row: Row = {"length": length, "batch": f"{batch} + {batch}"}
            for name, outcome in outcomes.items():
                row |= {f"{name}, tokens/s": tokens / outcome.seconds, f"{name}, MiB": outcome.peak / 2**20}
            rows.append(row)
    return rows


def budget(bench: Bench) -> list[Row]:
    """Peak memory of a step, everything included, against the most tokens in a forward pass."""
    examples, held = bench.examples(bench.arguments.batch, bench.size.length), _bytes(bench.base)
    rows: list[Row] = []
    for tokens in (bench.size.length * 2**power for power in range(4)):
        row: Row = {"micro_tokens": tokens}
        for name, recompute in (("kept", False), ("recomputed", True)):
            stage = Stage(name, plan={"fused_lora": True, "recompute": recompute})
            outcome = _outcomes(bench, (stage,), examples, bench.size.length, micro_tokens=tokens)[name]
            whole = (held + outcome.peak) / 2**30
            row |= {f"{name}, seconds": outcome.seconds, f"{name}, GiB": whole, f"{name}, fits": whole < CARD_GIB}
        rows.append(row)
    return rows


def _outcomes(
    bench: Bench,
    chosen: Sequence[Stage],
    examples: Sequence[Example] | None = None,
    length: int | None = None,
    **changes: int,
) -> dict[str, Outcome]:
    """The fastest of each stage's steps, which take turns; to keep references takes one step more than to read them."""
    length = length or bench.size.length
    examples = examples or bench.examples(bench.arguments.batch, length)
    ways = {stage.name: bench.way(stage, examples, length, **changes) for stage in chosen}
    rounds = [{name: bench.take(way) for name, way in ways.items()} for _ in range(bench.arguments.repeats)]
    return {name: min((each[name] for each in rounds), key=lambda outcome: outcome.seconds) for name in ways}


def _off(gradient: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest entry."""
    return float((gradient - expected).abs().max() / expected.abs().max())


def _flops(bench: Bench, examples: Sequence[Example], passes: int) -> float:
    """Multiplications and additions of a step: frozen weights in every pass, LoRA's in three of its own."""
    adapter = sum(parameter.numel() for parameter in adapter_parameters(bench.base, "guard").values())
    frozen = sum(
        module.weight.numel() for name, module in bench.base.model.named_modules() if name.endswith(".base_layer")
    )
    depth = {"breaker": max(bench.plan().layers) / bench.size.blocks, "retain": 1.0}
    return sum(2 * len(each.ids) * depth[each.kind] * (passes * frozen + 3 * adapter) for each in examples)


def multiplications_per_second(size: Size, device: torch.device) -> float:
    """Operations per second of this device on the model's largest product."""
    left = torch.randn(1024, size.hidden, dtype=size.dtype, device=device)
    right = torch.randn(size.hidden, size.intermediate, dtype=size.dtype, device=device)
    clock, seconds = Clock(device), []
    for _ in range(30):
        begin = clock.now()
        torch.mm(left, right)
        seconds.append(clock.now() - begin)
    return 2 * 1024 * size.hidden * size.intermediate / min(seconds)


def _bytes(base: Base) -> int:
    return sum(tensor.nbytes for tensor in base.model.state_dict().values())


TABLES: dict[str, Callable[[Bench], list[Row]]] = {
    "stages": stages,
    "shares": shares,
    "floor": floor,
    "scaling": scaling,
    "budget": budget,
}


if __name__ == "__main__":
    main()
