"""The attacker learns from what worked: one GRPO update on groups of sampled attacks.

Promises: advantages are differences of rewards, not divided by their deviation; groups in which every sample earned the
same teach nothing and are skipped and counted; the update is deterministic, and its state resumes to the same bits.
From "DeepSeekMath" (arXiv 2402.03300), equation 3, without the KL term, normalised by the tokens of all groups; why not
to divide by the deviation: "Understanding R1-Zero-Like Training" (arXiv 2503.20783).
Leaves out: sampling and rewards (`rollouts`).

Shapes: B samples, T tokens, N completion tokens, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from tsgb.breakers.representations import LAST, hidden_states, logits, padded
from tsgb.models.loading import Base, using
from tsgb.records.base import Record
from tsgb.training.optimizer import AdapterOptimizer, OptimizerState, Room
from tsgb.training.snapshot import Snapshot, Stillness
from tsgb.training.state import require_rate

Baseline = Literal["leave_one_out", "group_mean"]


class AttackerPlan(Record):
    """How an attacker adapter learns."""

    learning_rate: float = Field(1e-3, gt=0)
    """Constant learning rate of AdamW."""
    betas: tuple[float, float] = (0.9, 0.99)
    """AdamW's decay of the first and second moment."""
    clip: float = Field(0.2, gt=0)
    """Largest norm of an update's gradient."""
    ratio_clip: float = Field(0.2, gt=0)
    """How far the probability ratio may move from 1 before its gradient stops."""
    epochs: int = Field(2, ge=1)
    """Optimizer steps on the same samples."""
    baseline: Baseline = "leave_one_out"
    """What a reward is compared with: the mean of the others in its group, or of the whole group."""
    micro_tokens: int = Field(2048, ge=1)
    """Most padded tokens in one forward pass."""


@dataclass(frozen=True)
class Sample:
    """One attack that was sampled, and what it earned."""

    prompt: tuple[int, ...]
    """Token ids that the attacker was given."""
    completion: tuple[int, ...]
    """Token ids that it sampled."""
    reward: float
    """What the attack earned."""
    logprobs: tuple[float, ...] = ()
    """Log-probability of each sampled token when it was sampled; empty: the adapter as it stands sampled them."""


@dataclass(frozen=True)
class AttackReport:
    """What one update saw."""

    groups: int
    """Groups that came in."""
    skipped: int
    """Groups in which every sample earned the same."""
    reward: float
    """Mean reward over all samples."""
    kl: float
    """Divergence, before the last epoch's step, from the policy that sampled: mean of r − 1 − ln r, nats a token."""
    clipped: float
    """Share of tokens whose ratio was outside the clip range in the last epoch."""
    gradient_norm: float
    """Norm of the last epoch's gradient before clipping."""
    tokens: int
    """Completion tokens learnt from."""


@dataclass(frozen=True)
class _Weighed:
    sample: Sample
    advantage: float


Batch = tuple[list[_Weighed], Tensor]
"""Samples of a forward pass, and the log-probabilities under which they were sampled."""


class Attacker:
    """Trains an adapter that the base already has, update by update."""

    def __init__(self, base: Base, name: str, plan: AttackerPlan) -> None:
        self._base, self._name, self._plan = base, name, plan
        self.reports: list[AttackReport] = []
        self.still = Stillness()
        self._room = Room()
        self._optimizer = AdapterOptimizer(base, name, betas=plan.betas, clip=plan.clip)

    def update(self, groups: Sequence[Sequence[Sample]]) -> AttackReport:
        """Learn from groups of samples of the same prompt; without any spread of rewards nothing is changed."""
        learnt = [_weigh(group, self._plan.baseline) for group in groups]
        weighed = [each for group in learnt for each in group]
        tokens = sum(len(each.sample.completion) for each in weighed)
        batches = [(batch, self._behaviour(batch)) for batch in _micro_batches(weighed, self._plan.micro_tokens)]
        with self.still.changing():
            norm, sums = self._epochs(batches, tokens)
            self.reports.append(_report(groups, learnt, norm, sums, tokens))
        return self.reports[-1]

    def state(self) -> OptimizerState:
        """A copy of everything that the next update depends on."""
        return self._optimizer.state()

    def load(self, state: OptimizerState) -> None:
        """Go on from a state of this adapter; raises `InputError` when it was trained at another learning rate."""
        if state.steps:
            require_rate(state, self._plan.learning_rate)
        self._optimizer.load(state)

    def snapshot(self, digest: str) -> Snapshot:
        """The training as it is now; the next update waits until it has been copied."""
        copy = partial(self._optimizer.state, self._room)
        return Snapshot(self.still, copy, self.reports, name=self._name, digest=digest)

    def _epochs(self, batches: Sequence[Batch], tokens: int) -> tuple[float, dict[str, float]]:
        """The last epoch's gradient norm and sums; without tokens there is nothing to learn from."""
        norm, sums = 0.0, {"kl": 0.0, "clipped": 0.0}
        for _ in range(self._plan.epochs if tokens else 0):
            with using(self._base, self._name):
                norm, sums = self._epoch(batches, tokens)
        return norm, sums

    def _epoch(self, batches: Sequence[Batch], tokens: int) -> tuple[float, dict[str, float]]:
        """One optimizer step on all batches: the gradient's norm, and sums over tokens."""
        sums = {"kl": 0.0, "clipped": 0.0}
        for batch, behaviour_N in batches:
            difference_N = self._log_probs(batch) - behaviour_N
            objective_N = clipped_objective(difference_N, _per_token(batch, behaviour_N), self._plan.ratio_clip)
            (-objective_N.sum() / tokens).backward()  # type: ignore[no-untyped-call]
            ratio_N = difference_N.detach().exp()
            sums["kl"] += float((ratio_N - 1 - difference_N.detach()).sum())
            sums["clipped"] += float(((ratio_N - 1).abs() > self._plan.ratio_clip).sum())
        return self._optimizer.step(self._optimizer.adapter.take_gradient(), self._plan.learning_rate), sums

    def _behaviour(self, batch: Sequence[_Weighed]) -> Tensor:
        """Log-probabilities under which the completions were sampled; computed now where the samples do not say."""
        with torch.no_grad(), using(self._base, self._name):
            now = torch.split(self._log_probs(batch), [len(each.sample.completion) for each in batch])
        pairs = zip(batch, now, strict=True)
        return torch.cat([now.new_tensor(each.sample.logprobs or now.tolist()) for each, now in pairs])

    def _log_probs(self, batch: Sequence[_Weighed]) -> Tensor:
        """Log-probabilities (tokens,) of the completions under the model as it stands."""
        samples = [each.sample for each in batch]
        device = self._base.model.device
        ids_BT = padded([(*sample.prompt, *sample.completion) for sample in samples]).to(device)
        mask_BT = padded([(False,) * len(s.prompt) + (True,) * len(s.completion) for s in samples]).to(device)
        hidden_ND = hidden_states(self._base.model, ids_BT, [LAST])[0, :, :-1][mask_BT[:, 1:]]
        log_probs_NV = torch.log_softmax(logits(self._base.model, hidden_ND).float(), dim=-1)
        return log_probs_NV.gather(1, ids_BT[:, 1:][mask_BT[:, 1:]][:, None])[:, 0]


def advantages(rewards: Sequence[float], baseline: Baseline = "leave_one_out") -> list[float] | None:
    """Reward minus baseline for each sample of a group; None when all earned the same."""
    if len(set(rewards)) < 2:
        return None
    mean = sum(rewards) / len(rewards)
    factor = len(rewards) / (len(rewards) - 1) if baseline == "leave_one_out" else 1.0
    return [factor * (reward - mean) for reward in rewards]


def clipped_objective(difference_N: Tensor, advantages_N: Tensor, clip: float) -> Tensor:
    """PPO's min(r·A, clip(r, 1 ± ε)·A) per token, to be maximised, with r = exp(difference of log-probabilities)."""
    ratio_N = difference_N.exp()
    return torch.minimum(ratio_N * advantages_N, ratio_N.clamp(1 - clip, 1 + clip) * advantages_N)


def _report(
    groups: Sequence[Sequence[Sample]], learnt: Sequence[object], norm: float, sums: Mapping[str, float], tokens: int
) -> AttackReport:
    rewards = [sample.reward for group in groups for sample in group]
    return AttackReport(
        groups=len(groups),
        skipped=sum(not group for group in learnt),
        reward=sum(rewards) / max(1, len(rewards)),
        kl=sums["kl"] / max(1, tokens),
        clipped=sums["clipped"] / max(1, tokens),
        gradient_norm=norm,
        tokens=tokens,
    )


def _weigh(group: Sequence[Sample], baseline: Baseline) -> list[_Weighed]:
    weights = advantages([sample.reward for sample in group], baseline)
    return [_Weighed(*pair) for pair in zip(group, weights, strict=True)] if weights else []


def _per_token(batch: Sequence[_Weighed], like: Tensor) -> Tensor:
    counts = torch.tensor([len(each.sample.completion) for each in batch], device=like.device)
    return like.new_tensor([each.advantage for each in batch]).repeat_interleave(counts)


def _micro_batches(weighed: Sequence[_Weighed], tokens: int) -> Iterator[list[_Weighed]]:
    """Samples of similar length together, at most `tokens` padded tokens (or a single sample) at a time."""
    batch: list[_Weighed] = []
    for each in sorted(weighed, key=lambda each: len(each.sample.prompt) + len(each.sample.completion)):
        if batch and (len(batch) + 1) * (len(each.sample.prompt) + len(each.sample.completion)) > tokens:
            yield batch
            batch = []
        batch.append(each)
    if batch:
        yield batch
