"""A cut model is the lower part of the whole one, and only that is fetched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from tsgb.breakers.representations import LAST, hidden_states
from tsgb.errors import ModelError
from tsgb.models.loading import add_adapter, load_adapter, load_base, save_adapter, using
from tsgb.models.trunk import INDEX, cut_from, load_model

from .architectures import random_model

IDS = torch.tensor([[5, 40, 80, 20, 7, 9]])


def states(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return hidden_states(model.train(False), IDS, (0, 1, 2))


def sharded(family: str, folder: Path, **changes: object) -> Path:
    """A checkpoint of a file for every few tensors, without those that two blocks need not."""
    random_model(family, **changes).save_pretrained(folder, max_shard_size="12KB")
    files: dict[str, str] = json.loads((folder / INDEX).read_text())["weight_map"]
    above = ("layers.2.", "layers.3.", "model.norm.", "lm_head.")
    needed = {file for key, file in files.items() if not any(name in key for name in above)}
    for file in set(files.values()) - needed:
        (folder / file).unlink()
    assert len(needed) < len(set(files.values())) / 1.5
    return folder


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3_text", "mixtral", "gpt_oss"])
def test_two_blocks_are_read_from_their_files_alone_and_compute_the_same_bits(family: str, tmp_path: Path) -> None:
    cut = load_model(str(sharded(family, tmp_path)), torch.float32, blocks=2)
    assert torch.equal(states(cut), states(random_model(family)))
    assert cut_from(cut) == 4
    assert not any("lm_head" in key or ".norm." in key.replace("layers", "") for key in dict(cut.named_parameters()))


def test_embeddings_that_are_tied_to_the_head_stay(tmp_path: Path) -> None:
    random_model("llama", tie_word_embeddings=True).save_pretrained(tmp_path)
    cut = load_model(str(tmp_path), torch.float32, blocks=2)
    assert torch.equal(states(cut), states(random_model("llama", tie_word_embeddings=True)))


def test_of_a_model_on_the_hub_only_the_needed_files_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0" * 40
    repository = tmp_path / "models--some--model"
    sharded("llama", repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    for name in ("huggingface_hub.constants.HF_HUB_CACHE", "transformers.utils.hub.constants.HF_HUB_CACHE"):
        monkeypatch.setattr(name, str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    cut = load_model("some/model", torch.float32, blocks=2)
    assert torch.equal(states(cut), states(random_model("llama")))
    assert cut.config.name_or_path == "some/model"


def test_an_adapter_of_the_cut_model_fits_the_whole_one(tiny_model_path: Path, tmp_path: Path) -> None:
    cut, whole = load_base(tiny_model_path, blocks=2), load_base(tiny_model_path)
    add_adapter(cut, "guard", rank=4, alpha=8, layers=(0, 1), init_std=0.1, seed=1)
    save_adapter(cut, "guard", tmp_path)
    load_adapter(whole, "guard", tmp_path)
    with using(cut, "guard") as lower, using(whole, "guard") as model:
        assert torch.equal(states(lower), states(model))


def test_the_digest_is_that_of_what_was_loaded(tiny_model_path: Path, tmp_path: Path) -> None:
    cut = load_base(tiny_model_path, blocks=2).digest
    assert cut not in (load_base(tiny_model_path).digest, load_base(tiny_model_path, blocks=1).digest)
    shutil.copytree(tiny_model_path, tmp_path / "again")
    (tmp_path / "again" / "model.safetensors").unlink()
    load_base(tiny_model_path).model.save_pretrained(tmp_path / "again", max_shard_size="10KB")
    assert load_base(tmp_path / "again", blocks=2).digest == cut


@pytest.mark.parametrize("blocks", [3, 9])
def test_who_asks_for_all_blocks_gets_the_whole_model(tiny_model_path: Path, blocks: int) -> None:
    assert load_base(tiny_model_path, blocks=blocks).digest == load_base(tiny_model_path).digest


@pytest.mark.parametrize("layer", [3, LAST])
def test_a_layer_above_the_cut_is_refused_in_one_sentence(tiny_model_path: Path, layer: int) -> None:
    model = load_base(tiny_model_path, blocks=2).model
    with pytest.raises(ModelError, match=rf"with 2 of its 3 blocks and has no layer {layer}: choose 0 to 2, or set"):
        hidden_states(model, IDS, (layer,))


def test_a_cut_model_does_not_speak(tiny_model_path: Path) -> None:
    model = load_base(tiny_model_path, blocks=2).model
    with pytest.raises(ModelError, match=r"only 2 of its 3 blocks were needed; set model\.only_needed_blocks to false"):
        model(IDS)
