"""The second part of a round: circuits are broken, and guards are fitted on what has become of them.

| stage | does |
|---|---|
| train | a fresh adapter by rerouting, retain and twin losses, resumable at every commit |
| guards | monitor and probe on the new hidden states, published with the adapter as one bundle |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tsgb.checkpoints import latest, put_blob, resume
from tsgb.environments.registry import environment
from tsgb.guards.bundle import Guards, save_guards
from tsgb.guards.fit import fit_guards
from tsgb.models.loading import save_adapter
from tsgb.records.dialogue import Trajectory
from tsgb.records.run import Manifest
from tsgb.records.training import KINDS, Example
from tsgb.training.defender import Defender
from tsgb.training.defender import train as train_steps
from tsgb.training.engine import fresh_adapter
from tsgb.training.plan import TrainingPlan
from tsgb.training.reports import dump_reports
from tsgb.training.state import load_weights
from tsgb.worker.collect import attempts_of
from tsgb.worker.commits import Commits, going_back_once
from tsgb.worker.run import Note, Run

GUARD = "guard"


def train(run: Run, n: int) -> dict[str, Any]:
    """Train this round's defender from the sets; goes on from the newest commit."""
    reports = going_back_once(run, n, "train", lambda: _train(run, n))
    manifest = latest(run.store, run.name, n, "train").manifest
    assert manifest is not None
    return {"commit": manifest.commit, "steps": manifest.step, "reports": reports}


def _train(run: Run, n: int) -> str:
    """All steps that are left; the digest of what each step of the training saw."""
    examples = run.examples(run.outputs(n, "sets")["examples"])
    plan = possible_plan(training_plan(run), examples, run.note)
    with Defender(run.players.base, examples, plan, name=GUARD, processes=run.settings.run.processes) as defender:
        _restore(run, n, defender)
        with Commits(run, n, "train", plan.steps) as commits, run.interruption.deferred():
            for step in train_steps(defender):
                run.tell("training", step.step, step.total)
                if step.warning:
                    run.note(step.warning)
                commits.after(step.step, defender.snapshot)
        return put_blob(run.store, run.name, dump_reports(defender.reports))


def possible_plan(plan: TrainingPlan, examples: Sequence[Example], note: Note) -> TrainingPlan:
    """The plan without the kinds of which there are no examples, which a sentence each says."""
    kinds = {example.kind for example in examples}
    absent = [kind for kind in KINDS if plan.batch(kind) and kind not in kinds]
    for kind in absent:
        note(f"There are no {kind} examples so far: this round trains without them.")
    return plan.model_copy(update={f"{kind}_batch": 0 for kind in absent})


def training_plan(run: Run) -> TrainingPlan:
    """The settings as a plan."""
    breaker = run.settings.breaker
    return TrainingPlan(
        steps=breaker.steps,
        breaker_batch=breaker.breaker_batch,
        retain_batch=breaker.retain_batch,
        twin_batch=breaker.twin_batch,
        boundary_batch=breaker.boundary_batch,
        stratum_weights={
            **STRATUM_WEIGHTS,
            "retain/harmless": breaker.harmless_share,
            "retain/refusal": breaker.refusal_share,
        },
        layers=breaker.target_layers,
        retain_layers=(*breaker.target_layers, *(() if run.settings.model.only_needed_blocks else (-1,))),
        alpha=breaker.rerouting_alpha,
        mode=breaker.mode,
        accumulation=breaker.accumulation,
        padded_tokens=breaker.padded_tokens,
        weighting=breaker.weighting,
        decay=breaker.decay,
        decay_multiplier=breaker.decay_multiplier,
        rerouting_loss=breaker.rerouting_loss,
        margin=breaker.margin,
        random_scale=breaker.random_scale,
        retain_loss=breaker.retain_loss,
        twin_loss=breaker.twin_loss,
        boundary_weight=breaker.boundary_weight,
        twin_weight=breaker.twin_weight,
        twin_hard=breaker.twin_hard,
        rank=breaker.rank,
        lora_alpha=breaker.alpha,
        adapter_layers=breaker.adapter_layers,
        init_std=breaker.init_std,
        learning_rate=breaker.learning_rate,
        seed=run.settings.run.seed,
        micro_tokens=breaker.micro_tokens,
        packed=breaker.packed,
        keep_references=breaker.keep_references,
        recompute=breaker.recompute,
        fused_lora=breaker.fused_lora,
    )


STRATUM_WEIGHTS: Mapping[str, float] = {
    "breaker/found": 0.35,
    "breaker/static": 0.15,
    "breaker/jailbreak": 0.25,
    "breaker/prefill": 0.25,
    "twin/injection": 0.7,
    "twin/jailbreak": 0.3,
    "retain/ordinary": 0.5,
    "retain/delegated": 0.17,
}
"""What a step draws from, within its kind; of harmless look-alikes and refusals the settings say how often."""


def _restore(run: Run, n: int, defender: Defender) -> None:
    with TemporaryDirectory() as folder:
        resumed = resume(run.store, run.name, n, "train", Path(folder))
        for sentence in resumed.skipped:
            run.note(sentence)
        if resumed.manifest:
            defender.restore(Path(folder))


def guards(run: Run, n: int) -> dict[str, Any]:
    """Fit guards on the new hidden states, and publish adapter and guards as one bundle."""
    commit = run.outputs(n, "train")["commit"]
    manifest = latest(run.store, run.name, n, "guards").manifest
    if manifest is None:
        manifest = _publish_bundle(run, n, run.folder(commit))
    return {"commit": manifest.commit}


def _publish_bundle(run: Run, n: int, trained: Path) -> Manifest:
    """Adapter as PEFT stores it, guards bound to it, committed together."""
    base = run.players.base
    fresh_adapter(base, GUARD, training_plan(run))
    load_weights(base, GUARD, trained / f"{GUARD}.safetensors")
    with TemporaryDirectory() as folder:
        save_adapter(base, GUARD, folder)
        if harmful := _successes(run, n):
            save_guards(folder, _fitted(run, harmful))
        else:
            run.note(
                "No attack has succeeded so far, and guards learn from successes: the bundle is the adapter alone."
            )
        return run.publish(n, "guards", 0, Path(folder))


def _fitted(run: Run, harmful: Sequence[Trajectory]) -> Guards:
    return fit_guards(
        run.players.base,
        GUARD,
        harmful=harmful,
        benign=[t for t in run.shard(0, "rollout", 1, list) if t.error is None],
        tools=environment("office").tools,
        layers=run.settings.breaker.target_layers,
        seed=run.settings.run.seed,
    )


def _successes(run: Run, n: int) -> list[Trajectory]:
    attempts = [t for r in range(n + 1) for t in attempts_of(run, r)]
    return [t for t in attempts if t.verdict and t.verdict.label == "full"]
