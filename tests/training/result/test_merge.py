"""A merged model computes what the adapted one did, also after its files were read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from llmasos.errors import IntegrityError, Unsupported
from llmasos.modeling.adapter_folder import AdapterFolder
from llmasos.modeling.folder import ModelFolder
from llmasos.modeling.weights import load_weights
from llmasos.training.methods.apply import Applied, apply_method, save_trained
from llmasos.training.recipe import methods
from llmasos.training.result import merge
from llmasos.training.result.merge import merge_into
from training.methods.models import MODELS, inputs, loader

pytestmark = pytest.mark.integration  # by its time: seconds, not milliseconds

METHODS: dict[str, methods.Method] = {
    "lora": methods.Lora(rank=4),
    "rslora": methods.Lora(rank=4, rank_stabilized=True),
    "dora": methods.Lora(rank=4, dora=True),
    "pissa": methods.Lora(rank=4, initialization="pissa"),
    "qlora": methods.Qlora(rank=4),
    "ia3": methods.Ia3(),
}


def trained(name: str, method: methods.Method, base: Path, target: Path) -> Applied:
    """Weights as training leaves them, saved as an adapter."""
    _, _, family, kind = MODELS[name]
    applied = apply_method(loader(base, name, torch.float32)(), method, family=family, kind=kind, seed=1)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for _, weight in applied.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.05)
    save_trained(applied, target, base="base")
    return applied


def adapted(base: Path, adapter: Path) -> ModelFolder:
    return ModelFolder.open(base, reference="mine").adapted(AdapterFolder.open(adapter), reference="mine")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["llama", "llama-classifier", "bert", "t5", "marian"])
def test_merged(name: str, method: str, tmp_path: Path) -> None:
    applied = trained(name, METHODS[method], tmp_path / "base", tmp_path / "adapter")
    folder = adapted(tmp_path / "base", tmp_path / "adapter")
    report = merge_into(folder, tmp_path / "merged")
    assert report.merged.relative < report.effect.relative / 20
    assert report.stored.relative < report.effect.relative / 20
    assert report.stored.agreement == 1
    assert not report.untied
    assert len(report.sentences()) == 3
    again: Any = load_weights(ModelFolder.open(tmp_path / "merged"), "float32", "cpu")
    batch = inputs(name)
    found = again(**batch).logits
    if method != "qlora":  # trained beside rounded weights, merged into exact ones
        expected = applied.module.eval()(**batch).logits
        assert float((found - expected).norm() / expected.norm()) < 5e-3
    assert (tmp_path / "merged/tokenizer_config.json").is_file()


@pytest.mark.parametrize(
    "method",
    [
        methods.Lora(rank=4, targets=("q_proj", "embed_tokens")),
        methods.Lora(rank=4, targets=("q_proj", "lm_head")),
        methods.Lora(rank=4, targets=("q_proj",), train_also=("lm_head",)),
        methods.Lora(rank=4, targets=("q_proj",), train_also=("embed_tokens",)),
    ],
)
def test_head_and_embeddings_part_where_the_adapter_changes_one(method: methods.Method, tmp_path: Path) -> None:
    applied = trained("llama", method, tmp_path / "base", tmp_path / "adapter")
    report = merge_into(adapted(tmp_path / "base", tmp_path / "adapter"), tmp_path / "merged")
    assert report.untied
    assert "two" in report.sentences()[-1]
    again: Any = load_weights(ModelFolder.open(tmp_path / "merged"), "float32", "cpu")
    assert again.config.tie_word_embeddings is False
    assert again.lm_head.weight is not again.model.embed_tokens.weight
    batch = inputs("llama")
    assert torch.allclose(again(**batch).logits, applied.module.eval()(**batch).logits, rtol=1e-3, atol=1e-3)


def test_a_base_in_bfloat16_stays_so(tmp_path: Path) -> None:
    loader(tmp_path / "exact", "llama", torch.float32)().to(torch.bfloat16).save_pretrained(tmp_path / "base")
    for file in (tmp_path / "exact").glob("*token*"):
        (tmp_path / "base" / file.name).write_bytes(file.read_bytes())
    trained("llama", methods.Lora(rank=4), tmp_path / "base", tmp_path / "adapter")
    report = merge_into(adapted(tmp_path / "base", tmp_path / "adapter"), tmp_path / "merged")
    assert report.dtype == "bfloat16"
    assert report.merged.relative < 1e-4 < report.stored.relative < 0.1
    assert merge_into(adapted(tmp_path / "base", tmp_path / "adapter"), tmp_path / "again", dtype="float32").dtype == (
        "float32"
    )


@pytest.mark.parametrize("method", [methods.PromptTuning(tokens=2), methods.PrefixTuning(tokens=2)])
def test_vectors_before_the_text_cannot_be_merged(method: methods.Method, tmp_path: Path) -> None:
    trained("llama", method, tmp_path / "base", tmp_path / "adapter")
    with pytest.raises(Unsupported, match="cannot be merged"):
        merge_into(adapted(tmp_path / "base", tmp_path / "adapter"), tmp_path / "merged")


def test_another_base_is_refused(tmp_path: Path) -> None:
    trained("llama", methods.Lora(rank=4), tmp_path / "base", tmp_path / "adapter")
    loader(tmp_path / "other", "gemma3")
    with pytest.raises(IntegrityError, match="does not fit its base"):
        merge_into(adapted(tmp_path / "other", tmp_path / "adapter"), tmp_path / "merged")


def test_a_merge_that_changes_answers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained("llama", methods.Lora(rank=4), tmp_path / "base", tmp_path / "adapter")
    monkeypatch.setattr(merge, "NOISE", 0.0)
    monkeypatch.setattr(merge, "MERGED_TOLERANCE", 0.0)
    with pytest.raises(IntegrityError, match="computes something else"):
        merge_into(adapted(tmp_path / "base", tmp_path / "adapter"), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
