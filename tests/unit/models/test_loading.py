"""A base stays itself whatever adapters it carries, and an adapter survives its trip to disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM

from tsgb.errors import ModelError
from tsgb.models.loading import Base, add_adapter, load_adapter, load_base, save_adapter, using

IDS = torch.tensor([[5, 40, 80, 120, 7, 9]])


@pytest.fixture
def base(tiny_model_path: Path) -> Base:
    return load_base(tiny_model_path)


@torch.no_grad()
def logits(base: Base, name: str | None) -> Tensor:
    with using(base, name) as model:
        scores: Tensor = model(IDS).logits
    return scores


def guarded(base: Base, name: str = "guard", seed: int = 1) -> Base:
    add_adapter(base, name, rank=4, alpha=8, layers=(0, 2), init_std=0.1, seed=seed)
    return base


def test_the_base_is_bit_exact_beside_its_adapters(base: Base, tiny_model_path: Path) -> None:
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(tiny_model_path)(IDS).logits
    guarded(guarded(base), "attacker", seed=2)
    assert torch.equal(logits(base, None), expected)
    assert not torch.equal(logits(base, "guard"), expected)
    assert not torch.equal(logits(base, "guard"), logits(base, "attacker"))
    assert torch.equal(base.model(IDS).logits, expected)


def test_blocks_of_use_may_be_nested(base: Base) -> None:
    guarded(guarded(base), "attacker", seed=2)
    guard, frozen = logits(base, "guard"), logits(base, None)
    with using(base, "guard") as model, torch.no_grad():
        assert torch.equal(logits(base, None), frozen)
        assert torch.equal(model(IDS).logits, guard)


def test_the_adapter_in_use_is_the_one_that_learns(base: Base) -> None:
    guarded(guarded(base), "attacker", seed=2)
    with using(base, "guard") as model:
        learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert len(learning) == 2 * 2 * 7
        assert all(".guard." in name for name in learning)
    assert not any(parameter.requires_grad for parameter in base.model.parameters())


def test_a_fresh_adapter_is_a_function_of_its_seed(tiny_model_path: Path) -> None:
    torch.manual_seed(3)
    first = logits(guarded(load_base(tiny_model_path)), "guard")
    torch.manual_seed(4)
    assert torch.equal(first, logits(guarded(load_base(tiny_model_path)), "guard"))
    assert not torch.equal(first, logits(guarded(load_base(tiny_model_path), seed=2), "guard"))


def test_a_fresh_adapter_leaves_the_callers_random_numbers_alone(base: Base) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    add_adapter(base, "guard", rank=4, alpha=8, layers=(1,))
    assert torch.equal(torch.rand(3), expected)


def test_with_no_deviation_an_adapter_begins_as_the_base(base: Base) -> None:
    add_adapter(base, "guard", rank=4, alpha=8, layers=(0, 1, 2))
    assert torch.equal(logits(base, "guard"), logits(base, None))


def test_an_adapter_returns_from_disk_unchanged(base: Base, tmp_path: Path) -> None:
    save_adapter(guarded(base), "guard", tmp_path / "one")
    load_adapter(base, "copy", tmp_path / "one")
    save_adapter(base, "copy", tmp_path / "two")
    assert torch.equal(logits(base, "guard"), logits(base, "copy"))
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_peft_alone_reads_a_stored_adapter(base: Base, tiny_model_path: Path, tmp_path: Path) -> None:
    save_adapter(guarded(base), "guard", tmp_path)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model_path), tmp_path)
    with torch.no_grad():
        assert torch.equal(model(IDS).logits, logits(base, "guard"))


def test_an_adapter_of_the_same_name_is_replaced(base: Base, tmp_path: Path) -> None:
    save_adapter(guarded(base), "guard", tmp_path)
    before = logits(base, "guard")
    add_adapter(base, "guard", rank=2, alpha=8, layers=(1,), init_std=0.1)
    assert not torch.equal(logits(base, "guard"), before)
    load_adapter(base, "guard", tmp_path)
    assert torch.equal(logits(base, "guard"), before)


def test_adapters_are_fp32_on_a_half_precision_base(tiny_model_path: Path) -> None:
    base = guarded(load_base(tiny_model_path, dtype="bfloat16"))
    types = {parameter.dtype for name, parameter in base.model.named_parameters() if ".lora_" in name}
    assert types == {torch.float32}
    assert logits(base, "guard").dtype == torch.bfloat16


def test_the_digest_follows_the_weights_and_not_the_place(tiny_model_path: Path, tmp_path: Path) -> None:
    here = load_base(tiny_model_path)
    shutil.copytree(tiny_model_path, tmp_path / "elsewhere")
    assert load_base(tmp_path / "elsewhere").digest == here.digest
    changed = AutoModelForCausalLM.from_pretrained(tiny_model_path)
    changed.model.norm.weight.data[0] += 1e-6
    changed.save_pretrained(tmp_path / "elsewhere")
    assert load_base(tmp_path / "elsewhere").digest != here.digest


@pytest.mark.parametrize("layers", [(), (3,), (-1,)])
def test_wrong_blocks_are_answered_with_the_right_ones(base: Base, layers: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="blocks 0 to 2; choose among them"):
        add_adapter(base, "guard", rank=4, alpha=8, layers=layers)


def test_a_missing_adapter_is_answered_with_those_there_are(base: Base) -> None:
    with pytest.raises(ModelError, match=r"no adapter 'other'; it has \['guard'\]"), using(guarded(base), "other"):
        pass


def test_a_folder_without_an_adapter_says_what_it_needs(base: Base, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"needs adapter_config\.json and adapter_model\.safetensors"):
        load_adapter(base, "guard", tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 99, b'["a"]', b'{"peft_type": "odd"}'])
def test_an_adapter_that_is_broken_is_one_sentence(base: Base, tmp_path: Path, name: str, content: bytes) -> None:
    save_adapter(guarded(base), "guard", tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=r"^There is no adapter in .*as PEFT stores them\.$"):
        load_adapter(base, "other", tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 99, b'["a"]', b'{"version": "1.0"}'])
def test_a_model_that_is_broken_is_one_sentence(
    tiny_model_path: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    shutil.copytree(tiny_model_path, tmp_path / "broken")
    (tmp_path / "broken" / name).write_bytes(content)
    with pytest.raises(ModelError, match=r"^No causal language model could be loaded from .*, or a hub id\.$"):
        load_base(tmp_path / "broken")


def test_an_adapter_of_another_shape_is_refused(base: Base, tmp_path: Path) -> None:
    save_adapter(guarded(base), "guard", tmp_path)
    config = (tmp_path / "adapter_config.json").read_text()
    (tmp_path / "adapter_config.json").write_text(config.replace('"r": 4', '"r": 5'))
    with pytest.raises(ModelError, match=r"does not fit .*lora_A.weight' is missing, unknown or of another shape"):
        load_adapter(base, "other", tmp_path)


@pytest.mark.parametrize("name", ["no/such/model", "/no/such/folder"])
def test_what_is_no_model_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=f"No causal language model could be loaded from '{name}'"):
        load_base(name)


def test_a_type_that_is_none_is_named(tiny_model_path: Path) -> None:
    with pytest.raises(ModelError, match="'float31' is no type a model can have: choose float32"):
        load_base(tiny_model_path, dtype="float31")
