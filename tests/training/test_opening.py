"""Models that are opened for training: families, heads, labels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_models
from llmasos.data.row import Label, Origin, Row
from llmasos.errors import IntegrityError, InvalidRecipe
from llmasos.library.store import Library
from llmasos.modeling.folder import Family
from llmasos.training.opening import OpenedModel, open_model
from llmasos.training.recipe.kinds import KINDS, TrainingRecipe

NAMES = ("llama", "bert_classifier", "distilbert_classifier", "sentence_transformer", "t5", "roberta_classifier")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in NAMES:
        tiny_models.build(name, folder / name)
    return folder


def rows() -> Iterator[Row]:
    for number, label in enumerate(("negative", "positive", "neutral", "positive")):
        yield Row(str(number), Origin("x", "x", number + 1), Label("the quick brown fox", label))


def opened(kind: str, folder: Path, tmp_path: Path, **keys: Any) -> OpenedModel:
    options = {name: keys.pop(name) for name in ("meta", "dtype") if name in keys}
    raw = {"kind": kind, "model": str(folder), "data": {"train": [{"path": "x.jsonl"}]}, **keys}
    recipe: TrainingRecipe = KINDS[kind].model_validate(raw)  # type: ignore[assignment]
    return open_model(recipe, rows=rows, device="cpu", library=Library(tmp_path / "home"), **options)


def test_a_decoder(models: Path, tmp_path: Path) -> None:
    found = opened("sft", models / "llama", tmp_path)
    assert found.family is Family.CAUSAL
    assert type(found.module).__name__ == "LlamaForCausalLM"
    assert found.module.training
    assert found.packable
    assert found.new_head == ()
    assert found.context_length == 256
    assert found.version is None
    assert {parameter.dtype for parameter in found.module.parameters()} == {torch.float32}


def test_weights_in_bfloat16(models: Path, tmp_path: Path) -> None:
    found = opened("sft", models / "llama", tmp_path, dtype="bfloat16")
    assert {parameter.dtype for parameter in found.module.parameters()} == {torch.bfloat16}
    assert found.packable


def test_shapes_without_memory(models: Path, tmp_path: Path) -> None:
    found = opened("sft", models / "llama", tmp_path, meta=True)
    real = opened("sft", models / "llama", tmp_path)
    assert all(parameter.is_meta for parameter in found.module.parameters())
    shapes = {name: parameter.shape for name, parameter in found.module.named_parameters()}
    assert shapes == {name: parameter.shape for name, parameter in real.module.named_parameters()}


def test_an_encoder_gets_a_head_that_follows_the_seed(models: Path, tmp_path: Path) -> None:
    found, again, other = (
        opened("classify", models / "sentence_transformer", tmp_path, seed=seed) for seed in (1, 1, 2)
    )
    assert found.family is Family.ENCODER
    assert found.new_head == ("classifier.bias", "classifier.weight")
    assert found.labels == ("negative", "neutral", "positive")
    config: Any = found.module.config
    assert config.id2label == {0: "negative", 1: "neutral", 2: "positive"}
    assert config.problem_type == "single_label_classification"
    weights = [item.module.get_parameter("classifier.weight") for item in (found, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_classifier_with_the_same_classes_keeps_its_head(models: Path, tmp_path: Path) -> None:
    found = opened("classify", models / "bert_classifier", tmp_path)
    assert found.new_head == ()
    assert found.labels == ("negative", "neutral", "positive")
    other = opened("classify", models / "bert_classifier", tmp_path, labels=["positive", "negative", "unclear"])
    assert other.new_head == ("classifier.bias", "classifier.weight")
    assert other.labels == ("positive", "negative", "unclear")
    assert any("new head" in warning for warning in other.warnings)
    kept, new = (item.module.get_parameter("classifier.weight") for item in (found, other))
    assert not torch.equal(kept, new)
    ours, theirs = (item.module.get_parameter("bert.pooler.dense.weight") for item in (found, other))
    assert torch.equal(ours, theirs)


def test_a_decoder_as_a_classifier_knows_its_padding(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "llama"
    tiny_models.build("llama", folder)
    config = json.loads((folder / "config.json").read_text())
    config["pad_token_id"] = None
    (folder / "config.json").write_text(json.dumps(config))
    found = opened("classify", folder, tmp_path)
    assert found.family is Family.CAUSAL
    assert found.new_head == ("score.weight",)
    pad = found.renderer.tokenizer.special.id("pad")
    end = config["eos_token_id"]
    expected = pad if pad is not None else end[0] if isinstance(end, list) else end
    settings: Any = found.module.config
    assert settings.pad_token_id == expected
    assert found.way is not None


def test_a_reward_model_has_one_score(models: Path, tmp_path: Path) -> None:
    found = opened("reward", models / "llama", tmp_path)
    assert found.module.get_parameter("score.weight").shape[0] == 1
    assert found.labels == ()


def test_dropout_before_the_head(models: Path, tmp_path: Path) -> None:
    found = opened("classify", models / "bert_classifier", tmp_path, head_dropout=0.37)
    assert found.module.get_submodule("dropout").p == 0.37  # type: ignore[union-attr]
    with pytest.raises(InvalidRecipe, match=r"head_dropout = 0.37.*no dropout before its head"):
        opened("classify", models / "llama", tmp_path, head_dropout=0.37)


@pytest.mark.parametrize(
    ("kind", "model"), [("sft", "t5"), ("seq2seq", "llama"), ("pretrain", "bert_classifier"), ("classify", "t5")]
)
def test_models_of_another_family_are_refused(models: Path, tmp_path: Path, kind: str, model: str) -> None:
    with pytest.raises(InvalidRecipe, match=f"kind {kind} cannot train"):
        opened(kind, models / model, tmp_path)


def test_weights_that_lack_tensors_of_the_body_are_refused(models: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "broken"
    tiny_models.build("sentence_transformer", folder)
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.0.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(IntegrityError, match=r"lack 1 tensors.*encoder.layer.0.output.dense.weight"):
        opened("classify", folder, tmp_path)


def test_prompt_vectors_leave_no_room_for_several_documents(models: Path, tmp_path: Path) -> None:
    found = opened("sft", models / "llama", tmp_path, method={"kind": "prompt-tuning", "tokens": 4})
    assert not found.packable
