"""The shipped surrogate is what its recipe makes, and its corpus holds no attack it is later tested with."""

from __future__ import annotations

import json
from itertools import islice
from random import Random

import pytest
import torch

from tsgb import surrogate
from tsgb.environments.office import attacks
from tsgb.models.loading import load_base
from tsgb.surrogate.build import Build, Recipe, rate_scale
from tsgb.surrogate.corpus import draw_dialogue
from tsgb.surrogate.muon import orthogonalise

ABOUT = json.loads((surrogate.shipped() / "build.json").read_text())


def test_the_shipped_surrogates_first_steps_are_rebuilt_with_the_same_losses() -> None:
    build = Build(Recipe(**ABOUT["recipe"]))
    rebuilt = [entry.loss for entry in islice(build.steps(), 12)]
    shipped = [entry["loss"] for entry in ABOUT["log"][:12]]
    assert rebuilt == pytest.approx(shipped, rel=2e-3)
    assert rebuilt[-1] < 0.9 * rebuilt[0]


def test_the_shipped_weights_are_those_of_the_build_log() -> None:
    assert load_base(surrogate.shipped(), dtype="float16").digest == ABOUT["digest"]


def test_no_known_dev_or_test_attack_occurs_in_the_corpus() -> None:
    families = (*attacks.INJECTIONS.values(), *attacks.JAILBREAKS.values())
    phrases = [phrase for family in families for phrase in family.values()]
    openings = [max(phrase.split("{}"), key=len).strip(" .:!?") for phrase in phrases]
    distinctive = [words for words in openings if len(words.split()) >= 3]
    rng = Random("corpus")
    text = "\n".join(m.content for stage in (0, 1, 2) for _ in range(700) for m in draw_dialogue(rng, stage))
    assert len(distinctive) >= 12
    assert [words for words in distinctive if words in text] == []


def test_refusal_tuning_is_the_only_stage_that_declines() -> None:
    rngs = {stage: Random(f"stage {stage}") for stage in (1, 2)}
    said = {stage: [m.content for _ in range(300) for m in draw_dialogue(rng, stage)] for stage, rng in rngs.items()}
    assert not any("sorry" in words for words in said[1])
    assert sum("sorry" in words for words in said[2]) > 40


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    matrices = torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(0))
    singular = torch.linalg.svdvals(orthogonalise(matrices))
    assert singular.min() > 0.5 and singular.max() < 1.5


def test_the_learning_rate_warms_up_stays_and_falls() -> None:
    recipe = Recipe(copy_steps=0, helpful_steps=100, refusal_steps=20)
    scales = [rate_scale(step, recipe) for step in range(120)]
    assert scales[0] < scales[19] == scales[45] == 1.0
    assert 0.1 <= scales[99] < 0.2 < scales[100] < 0.5
