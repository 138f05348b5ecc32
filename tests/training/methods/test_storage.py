"""Every method: trained weights are saved and read again bit for bit, and PEFT reads adapters to the same effect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from llmasos.errors import IntegrityError, InvalidRecipe
from llmasos.modeling.folder import Family
from llmasos.training.methods.apply import Applied, apply_method, load_trained, save_trained
from llmasos.training.recipe import methods
from training.methods.models import MODELS, inputs, loader

pytestmark = pytest.mark.integration  # by its time: seconds, not milliseconds

METHODS: dict[str, methods.Method] = {
    "full": methods.Full(),
    "freeze": methods.Freeze(last_layers=1),
    "lora": methods.Lora(rank=4, dropout=0.1),
    "rslora": methods.Lora(rank=4, rank_stabilized=True, initialization="gaussian"),
    "dora": methods.Lora(rank=4, dora=True),
    "pissa": methods.Lora(rank=4, initialization="pissa"),
    "lora+": methods.Lora(rank=4, b_ratio=16, targets="attention"),
    "qlora": methods.Qlora(rank=4),
    "qpissa": methods.Qlora(rank=4, initialization="pissa"),
    "prompt-tuning": methods.PromptTuning(tokens=3),
    "prefix-tuning": methods.PrefixTuning(tokens=3),
    "prefix-projection": methods.PrefixTuning(tokens=3, projection=True, projection_size=16),
    "p-tuning": methods.PTuning(tokens=3, encoder_size=16),
    "p-tuning-lstm": methods.PTuning(tokens=3, encoder="lstm", encoder_size=16),
    "ia3": methods.Ia3(),
}
NOT_FOR = {(method, model) for method in ("prefix-tuning", "prefix-projection") for model in ("t5", "marian")}


def dtype(method: str) -> torch.dtype:
    """PiSSA takes singular values of no other format."""
    return torch.float32 if "pissa" in method else torch.float64


def apply(name: str, method: str, module: torch.nn.Module) -> Applied:
    _, _, family, kind = MODELS[name]
    return apply_method(module, METHODS[method], family=family, kind=kind, seed=1)


def shaken(applied: Applied) -> None:
    """Change what is trained, as training would."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for _, weight in applied.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype), alpha=0.05)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["llama", "llama-classifier", "bert", "t5"])
def test_saved_and_read_again(name: str, method: str, tmp_path: Path) -> None:
    load = loader(tmp_path / "base", name, dtype(method))
    if (method, name) in NOT_FOR:
        with pytest.raises(InvalidRecipe, match="half of the trained vectors"):
            apply(name, method, load())
        return
    applied = apply(name, method, load())
    shaken(applied)
    batch = inputs(name)
    expected = applied.module.eval()(**batch).logits
    save_trained(applied, tmp_path / "trained", base="my/base")
    other = apply(name, method, load())
    assert not torch.equal(other.module.eval()(**batch).logits, expected)
    load_trained(other, tmp_path / "trained")
    assert torch.equal(other.module.eval()(**batch).logits, expected)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("full", "freeze", "qlora", "qpissa")])
@pytest.mark.parametrize("name", ["llama", "gemma3", "llama-classifier", "bert", "roberta", "t5", "marian"])
def test_read_by_peft(name: str, method: str, tmp_path: Path) -> None:
    if (method, name) in NOT_FOR:
        pytest.skip("no prefixes for encoder-decoder models")
    load = loader(tmp_path / "base", name, dtype(method))
    applied = apply(name, method, load())
    shaken(applied)
    save_trained(applied, tmp_path / "trained", base=str(tmp_path / "base"))
    read: Any = PeftModel.from_pretrained(load(), tmp_path / "trained").to(dtype(method)).eval()
    batch = inputs(name, rows=1)
    expected = applied.module.eval()(**batch).logits
    found = read(**batch).logits
    if MODELS[name][2] is Family.CAUSAL and found.ndim == 3:
        found = found[:, -expected.shape[1] :]  # PEFT gives positions of virtual tokens too
    single = method == "pissa" or applied.virtual_tokens > 0  # formats that PEFT reads in float32
    error = float((found - expected).norm() / expected.norm())
    scaled_by_us = name == "marian" and applied.virtual_tokens > 0  # PEFT leaves Marian's scale of embeddings out
    if scaled_by_us:
        assert error > 0.01
    else:
        assert error < (1e-4 if single else 1e-12)


def test_files_name_the_base_and_no_path_of_this_machine(tmp_path: Path) -> None:
    load = loader(tmp_path / "base", "llama")
    save_trained(apply("llama", "lora", load()), tmp_path / "trained", base="smollm2:135m")
    text = (tmp_path / "trained/adapter_config.json").read_text()
    assert json.loads(text)["base_model_name_or_path"] == "smollm2:135m"
    assert json.loads(text)["target_modules"] == ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj",
                                                  "v_proj"]  # fmt: skip
    assert str(tmp_path) not in text


def test_another_model_is_refused(tmp_path: Path) -> None:
    load = loader(tmp_path / "base", "llama")
    save_trained(apply("llama", "lora", load()), tmp_path / "trained")
    with pytest.raises(IntegrityError, match="another model or method"):
        load_trained(apply("llama", "lora+", load()), tmp_path / "trained")
    (tmp_path / "trained/adapter_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(IntegrityError, match="cannot be read"):
        load_trained(apply("llama", "lora", load()), tmp_path / "trained")


def test_pissa_begins_as_the_model_itself(tmp_path: Path) -> None:
    load = loader(tmp_path / "base", "llama", torch.float32)
    applied = apply("llama", "pissa", load())
    batch = inputs("llama")
    assert torch.allclose(applied.module(**batch).logits, load()(**batch).logits, atol=1e-3)
    save_trained(applied, tmp_path / "trained")
    config = json.loads((tmp_path / "trained/adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["init_lora_weights"]) == (8, 16, True)
