from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny_models
from llmasos.errors import IntegrityError, NotFound, UnsafeContent, Unsupported
from llmasos.modeling.folder import Family, ModelFolder


def described(tmp_path: Path, architecture: str | None, **config: Any) -> ModelFolder:
    names = {} if architecture is None else {"architectures": [architecture]}
    tiny_models.write_json(tmp_path / "config.json", {**names, **config})
    return ModelFolder.open(tmp_path, reference="some/model")


@pytest.mark.parametrize(
    ("architecture", "config", "family"),
    [
        ("LlamaForCausalLM", {"model_type": "llama"}, Family.CAUSAL),
        ("GPT2LMHeadModel", {"model_type": "gpt2"}, Family.CAUSAL),
        ("Gemma3ForConditionalGeneration", {"model_type": "gemma3"}, Family.CAUSAL),
        ("T5ForConditionalGeneration", {"model_type": "t5", "is_encoder_decoder": True}, Family.SEQ2SEQ),
        ("MarianMTModel", {"model_type": "marian", "is_encoder_decoder": True}, Family.SEQ2SEQ),
        ("T5WithLMHeadModel", {"model_type": "t5"}, Family.SEQ2SEQ),
        ("BertForSequenceClassification", {"model_type": "bert"}, Family.CLASSIFIER),
        ("BartForSequenceClassification", {"model_type": "bart", "is_encoder_decoder": True}, Family.CLASSIFIER),
        ("Qwen2ForSequenceClassification", {"model_type": "qwen2"}, Family.CLASSIFIER),
        ("BertModel", {"model_type": "bert"}, Family.ENCODER),
        ("BertForMaskedLM", {"model_type": "bert"}, Family.ENCODER),
        ("T5EncoderModel", {"model_type": "t5", "is_encoder_decoder": True}, Family.ENCODER),
    ],
)
def test_families(tmp_path: Path, architecture: str, config: dict[str, Any], family: Family) -> None:
    assert described(tmp_path, architecture, **config).family is family


def test_sentence_transformers_files_make_an_encoder(tmp_path: Path) -> None:
    folder = described(tmp_path, "Qwen3ForCausalLM", model_type="qwen3")
    tiny_models.write_json(tmp_path / "modules.json", [])
    assert folder.family is Family.ENCODER


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("WhisperForConditionalGeneration", {"model_type": "whisper", "is_encoder_decoder": True}),
        ("BertForTokenClassification", {"model_type": "bert"}),
        ("ViTForImageClassification", {"model_type": "vit"}),
    ],
)
def test_other_models_are_refused_by_name(tmp_path: Path, architecture: str, config: dict[str, Any]) -> None:
    with pytest.raises(Unsupported, match=architecture):
        _ = described(tmp_path, architecture, **config).family


def test_folders_that_hold_no_model(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        ModelFolder.open(tmp_path / "nowhere")
    with pytest.raises(Unsupported, match=r"config\.json"):
        ModelFolder.open(tmp_path)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(IntegrityError, match=r"config\.json"):
        ModelFolder.open(tmp_path)
    (tmp_path / "config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(IntegrityError, match="not a JSON object"):
        ModelFolder.open(tmp_path)
    with pytest.raises(Unsupported, match="architectures"):
        _ = described(tmp_path, None).family


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"model_type": "llama", "max_position_embeddings": 8192}, 8192),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "gemma3", "text_config": {"max_position_embeddings": 32768}}, 32768),
        ({"model_type": "t5", "n_positions": 512}, None),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}, 512),
        ({"model_type": "led", "max_encoder_position_embeddings": 16384}, 16384),
        ({"model_type": "mamba"}, None),
    ],
)
def test_context_lengths(tmp_path: Path, config: dict[str, Any], limit: int | None) -> None:
    assert described(tmp_path, "X", **config).context_length == limit


def test_pickled_weights_are_never_opened(tmp_path: Path) -> None:
    folder = described(tmp_path, "BertModel", model_type="bert")
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(Unsupported, match="pickled") as caught:
        _ = folder.weight_files
    assert "import" in str(caught.value.hint)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(Unsupported, match="no weights"):
        _ = described(tmp_path, "BertModel", model_type="bert").weight_files


def test_missing_and_damaged_weights(own: Callable[[str], Path]) -> None:
    path = own("llama")
    file = path / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    with pytest.raises(IntegrityError):
        _ = ModelFolder.open(path).tensors
    file.write_bytes(struct.pack("<Q", 10**12) + b"{}")
    with pytest.raises(IntegrityError):
        _ = ModelFolder.open(path).tensors
    file.unlink()
    tiny_models.write_json(path / "model.safetensors.index.json", {"weight_map": {"a": "part-1.safetensors"}})
    with pytest.raises(IntegrityError, match=r"part-1\.safetensors"):
        _ = ModelFolder.open(path).weight_files


def test_the_memory_of_weights_is_counted_in_the_number_format(tiny: Callable[[str], Path]) -> None:
    folder = ModelFolder.open(tiny("llama"))
    header = json.loads((tiny("llama") / "model.safetensors").read_bytes()[8:].split(b"}}")[0] + b"}}")
    numbers = 0
    for name, entry in header.items():
        if name != "__metadata__":
            count = 1
            for extent in entry["shape"]:
                count *= extent
            numbers += count
    assert folder.weight_bytes("float32") == 4 * numbers
    assert folder.weight_bytes("bfloat16") == 2 * numbers


def test_code_from_a_repository_is_never_run(tmp_path: Path) -> None:
    with pytest.raises(UnsafeContent, match="NewForCausalLM"):
        described(tmp_path, "NewForCausalLM", auto_map={"AutoModel": "x.Y"}).refuse_foreign_code(False)
    with pytest.raises(Unsupported, match="NewForCausalLM"):
        described(tmp_path, "NewForCausalLM").refuse_foreign_code(False)
    described(tmp_path, "LlamaForCausalLM", auto_map={"AutoModel": "x.Y"}).refuse_foreign_code(True)
