"""What `llmasos show` will tell of a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import tiny_models
from gguf_files import CHAT_TEMPLATE, byte_level_vocab, tiny_model, write_gguf
from llmasos.library.formats.describe import describe
from llmasos.library.formats.families import labels, task_family
from llmasos.library.formats.prepare import prepare

CARD = """---
license: cc-by-nc-4.0
language:
- en
- zh
- "not a language!"
base_model: org/base
datasets: [org/data, other]
model-index:
- name: m
  results:
  - task: {type: text-classification}
    dataset: {name: SST-2, type: glue}
    metrics:
    - {type: accuracy, value: 0.913}
    - {type: note, value: good}
---
# Model
"""


def folder(path: Path, config: dict[str, Any], tensors: dict[str, torch.Tensor] | None = None, **files: str) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    save_file(tensors or {"w": torch.ones(2, 3)}, path / "model.safetensors")
    for name, text in files.items():
        (path / name.replace("_dot_", ".")).write_text(text)
    return path


def test_everything_that_the_files_say(tmp_path: Path) -> None:
    config = {"model_type": "distilbert", "architectures": ["DistilBertForSequenceClassification"],
              "max_position_embeddings": 512, "id2label": {"1": "POSITIVE", "0": "NEGATIVE"}}  # fmt: skip
    tensors = {"a": torch.ones(4, 5).half(), "b": torch.ones(3), "ids": torch.arange(512)}
    found = describe(folder(tmp_path / "m", config, tensors, README_dot_md=CARD, chat_template_dot_jinja="x"))
    assert found.model_dump(exclude_defaults=True) == {
        "architecture": "distilbert",
        "task_family": "classifier",
        "parameters": 23,
        "context_length": 512,
        "languages": ["en", "zh"],
        "license": "cc-by-nc-4.0",
        "format": "transformers",
        "precision": "float16",
        "chat_template": True,
        "base": "org/base",
        "labels": ["NEGATIVE", "POSITIVE"],
        "metrics": {"SST-2/accuracy": 0.913},
        "data": ["org/data", "other"],
    }


def test_nothing_is_guessed(tmp_path: Path) -> None:
    found = describe(folder(tmp_path / "m", {}))
    assert found.model_dump(exclude_defaults=True) == {
        "parameters": 6,
        "format": "transformers",
        "precision": "float32",
    }


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "causal"),
        ({"architectures": ["GPT2LMHeadModel"]}, "causal"),
        ({"architectures": ["T5ForConditionalGeneration"], "model_type": "t5"}, "seq2seq"),
        ({"architectures": ["MarianMTModel"], "is_encoder_decoder": True}, "seq2seq"),
        ({"architectures": ["BartForConditionalGeneration"], "model_type": "bart"}, "seq2seq"),
        ({"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava"}, None),
        ({"architectures": ["BertForMaskedLM"]}, "encoder"),
        ({"architectures": ["BertModel"], "model_type": "bert"}, "encoder"),
        ({"architectures": ["T5EncoderModel"], "model_type": "t5"}, "encoder"),
        ({"architectures": ["BertForSequenceClassification"], "id2label": {"0": "a", "1": "b"}}, "classifier"),
        ({"architectures": ["BertForSequenceClassification"], "model_type": "bert", "num_labels": 1}, "classifier"),
        (
            {"architectures": ["LlamaForSequenceClassification"], "model_type": "llama", "id2label": {"0": "x"}},
            "reward",
        ),
        ({"architectures": ["BertForTokenClassification"]}, "token-classifier"),
        ({"model_type": "t5"}, "seq2seq"),
        ({"model_type": "gpt2"}, "causal"),
        ({"model_type": "roberta"}, "encoder"),
        ({"model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"]}, None),
        ({"architectures": "nonsense", "model_type": 3}, None),
        ({}, None),
    ],
)
def test_families(config: dict[str, Any], expected: str | None) -> None:
    assert task_family(config) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"id2label": {"0": "a", "10": "k"}}, []),
        ({"id2label": {"x": "a"}}, []),
        ({"num_labels": 3}, ["LABEL_0", "LABEL_1", "LABEL_2"]),
        ({"num_labels": 10**12}, []),
        ({"id2label": {str(i): f"c{i}" for i in (2, 0, 1, *range(3, 12))}}, [f"c{i}" for i in range(12)]),
    ],
)
def test_labels(config: dict[str, Any], expected: list[str]) -> None:
    assert labels(config) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514}, 512),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "t5", "n_positions": 512}, None),
        ({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "max_position_embeddings": 99}}, 99),
        ({"max_position_embeddings": "many"}, None),
        ({"max_position_embeddings": True}, None),
        ({"max_position_embeddings": -1}, None),
    ],
)
def test_context_length(config: dict[str, Any], expected: int | None, tmp_path: Path) -> None:
    assert describe(folder(tmp_path / "m", config)).context_length == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq-4bit"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes-4bit"),
        ({"quant_method": "fp8"}, "fp8"),
    ],
)
def test_quantised_models_have_no_parameter_count(settings: dict[str, Any], expected: str, tmp_path: Path) -> None:
    found = describe(folder(tmp_path / "m", {"quantization_config": settings}))
    assert (found.quantization, found.parameters) == (expected, None)


@pytest.mark.parametrize("card", ["---\n[: broken\n---\n", "---\n- a list\n---\n", "no head", "---\nlicense: 3\n---\n"])
def test_slips_in_a_card_do_no_harm(card: str, tmp_path: Path) -> None:
    found = describe(folder(tmp_path / "m", {"model_type": "llama"}, README_dot_md=card))
    assert found.license is None
    assert found.architecture == "llama"


def test_a_card_without_end_is_read_to_a_limit(tmp_path: Path) -> None:
    bomb = "---\na: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(1000)) + "---\n" + "x" * 3_000_000
    describe(folder(tmp_path / "m", {}, README_dot_md=bomb))


def test_translators_name_their_languages(tmp_path: Path) -> None:
    tokenizer = json.dumps({"source_lang": "en", "target_lang": "fr"})
    assert describe(folder(tmp_path / "m", {}, tokenizer_config_dot_json=tokenizer)).languages == ["en", "fr"]


def test_template_inside_the_tokenizer_configuration_counts(tmp_path: Path) -> None:
    tokenizer = json.dumps({"chat_template": "{{ x }}"})
    assert describe(folder(tmp_path / "m", {}, tokenizer_config_dot_json=tokenizer)).chat_template


def test_licence_of_ones_own_has_its_own_name(tmp_path: Path) -> None:
    card = "---\nlicense: other\nlicense_name: my-terms\nlicense_link: https://example.org/terms\n---\n"
    found = describe(folder(tmp_path / "m", {}, README_dot_md=card))
    assert (found.license, found.license_url) == ("my-terms", "https://example.org/terms")


def test_what_a_gguf_file_says_of_itself(tmp_path: Path) -> None:
    vocab = byte_level_vocab()

    def extra(writer: Any) -> None:
        writer.add_chat_template(CHAT_TEMPLATE)
        writer.add_file_type(15)
        writer.add_base_model_count(1)
        writer.add_base_model_repo_url(0, "https://huggingface.co/org/base")
        writer.add_dataset_count(1)
        writer.add_dataset_repo_url(0, "https://huggingface.co/datasets/org/data")
        writer.add_description("A model.")

    write_gguf(tmp_path / "m.gguf", tiny_model("qwen3"), vocab, extra=extra)
    found = prepare(tmp_path / "m.gguf", tmp_path / "prepared").metadata
    assert found.model_dump(exclude_defaults=True) == {
        "architecture": "qwen3",
        "task_family": "causal",
        "parameters": sum(p.numel() for p in tiny_model("qwen3").parameters()),
        "context_length": 2048,
        "languages": ["en", "zh"],
        "license": "apache-2.0",
        "format": "transformers",
        "precision": "float32",
        "quantization": "Q4_K_M",
        "chat_template": True,
        "base": "org/base",
        "data": ["org/data"],
        "description": "A model.",
    }


@pytest.mark.parametrize(
    ("name", "architecture", "family"),
    [
        ("llama", "llama", "causal"),
        ("gemma3", "gemma3_text", "causal"),
        ("t5", "t5", "seq2seq"),
        ("marian", "marian", "seq2seq"),
        ("roberta_classifier", "roberta", "classifier"),
        ("bart_classifier", "bart", "classifier"),
        ("sentence_transformer", "bert", "embedder"),
    ],
)
def test_real_folders(name: str, architecture: str, family: str, tmp_path: Path) -> None:
    found = describe(tiny_models.build(name, tmp_path))
    assert (found.architecture, found.task_family) == (architecture, family)
    assert found.parameters
    assert (found.labels != []) == (family == "classifier")
