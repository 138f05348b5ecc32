"""What a run trained is a version of the library that every command can use at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import llmasos
import tiny_models
from llmasos.errors import NotFound, Unsupported
from llmasos.library import acquire
from llmasos.library.card import split_card
from llmasos.library.store import Library
from llmasos.modeling.adapter_folder import AdapterFolder
from llmasos.training.result.publish import portable

pytestmark = pytest.mark.integration  # by its time: seconds, not milliseconds

CONVERSATIONS = [
    {"messages": [{"role": "user", "content": f"Say {word}"}, {"role": "assistant", "content": f"{word} it is"}]}
    for word in ("hello", "the fox", "a dog", "other animals") * 4
]
LABELLED = [
    {"text": f"{text} {number}", "label": label}
    for number in range(6)
    for text, label in (("the quick fox", "good"), ("the lazy dog", "bad"))
]
PAIRS = [{"source": f"the fox jumps {number}", "target": f"le renard saute {number}"} for number in range(12)]


@pytest.fixture
def library(home: Path) -> Library:
    return Library()


def ensure(name: str, tmp_path: Path) -> None:
    """Put the tiny model that a name ``base/...`` means into the library."""
    folder = tmp_path / "base"
    folder.mkdir()
    tiny_models.BUILDERS[name.removeprefix("base/").replace("-", "_")](folder)
    acquire.import_path(folder, name=name, accept_license=True)


def train(
    tmp_path: Path, kind: str, model: str, rows: list[dict[str, Any]], method: dict[str, Any], **changes: Any
) -> Any:
    ensure(model, tmp_path)
    data = tmp_path / f"{kind}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    layout = {"seq2seq": {"layout": {"kind": "parallel", "source": "source", "target": "target"}}}.get(kind, {})
    recipe = {
        "kind": kind,
        "model": model,
        "method": method,
        "data": {"train": [{"path": str(data), **layout}], "validation_share": 0.25},
        "trainer": {"steps": 4, "batch_size": 4, "device": "cpu", "threads": 1, "dtype": "float32"},
        "evaluation": {"every": 2},
        "output": {"name": "my/result", "description": "A test.", "languages": ["en"], **changes.pop("output", {})},
        **changes,
    }  # fmt: skip
    return llmasos.train(recipe)


LORA = {"kind": "lora", "rank": 4, "learning_rate": 0.05}


def test_an_adapter_of_a_decoder_runs_on_its_base(library: Library, tmp_path: Path) -> None:
    result = train(tmp_path, "sft", "base/llama", CONVERSATIONS, LORA)
    version = library.resolve("my/result")
    assert version.digest == result.version.digest
    base = library.resolve("base/llama")
    metadata = version.metadata
    assert (metadata.kind, metadata.base, metadata.task_family) == ("adapter", base.digest, "causal")
    assert metadata.languages == ["en"]
    assert metadata.metrics["loss"] == pytest.approx(result.after["loss"])
    with llmasos.load("my/result", dtype="float32") as model, llmasos.load("base/llama", dtype="float32") as plain:
        assert model.engine.default_adapter == "my/result"
        one = model.chat("Say hello", max_tokens=8, ignore_eos=True, temperature=0)
        two = plain.chat("Say hello", max_tokens=8, ignore_eos=True, temperature=0)
        assert one.token_ids != two.token_ids


def test_card_and_lineage_say_where_it_comes_from(library: Library, tmp_path: Path) -> None:
    result = train(tmp_path, "sft", "base/llama", CONVERSATIONS, LORA)
    version = result.version
    [step] = library.lineage(version.digest)
    roles = [role for role, _, _ in step.inputs]
    assert roles[0] == "base"
    assert {"train", "recipe"} <= set(roles)
    assert step.inputs[0][1] == library.resolve("base/llama").digest
    assert step.step == "train"
    head, body = split_card((library.view(version) / "README.md").read_text(encoding="utf-8"))
    assert head["base_model"].startswith("base/llama")
    assert head["library_name"] == "peft"
    for part in ("## Scores", "## Curve", "## Data", "## Recipe", "llmasos run my/result", "sha256:"):
        assert part in body
    view = library.view(version)
    files = {path: (view / path).read_text(encoding="utf-8") for path in ("README.md", "training.json")}
    assert all(str(tmp_path) not in text for text in files.values())
    assert json.loads(files["training.json"])["steps"] == 4
    assert str(tmp_path) not in (library.view(version) / "adapter_config.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "method",
    [
        {"kind": "full", "learning_rate": 0.01},
        {"kind": "freeze"},
        LORA,
        {"kind": "qlora", "rank": 4},
        {"kind": "prompt-tuning", "tokens": 3},
        {"kind": "prefix-tuning", "tokens": 3},
        {"kind": "p-tuning", "tokens": 3, "encoder_size": 8},
        {"kind": "ia3"},
    ],
    ids=lambda method: str(method["kind"]),
)
def test_a_classifier_classifies(library: Library, tmp_path: Path, method: dict[str, Any]) -> None:
    train(tmp_path, "classify", "base/bert-classifier", LABELLED, method)
    version = library.resolve("my/result")
    assert version.metadata.labels == ["bad", "good"]
    assert version.metadata.task_family == "classifier"
    with llmasos.load("my/result") as model:
        assert model.labels == ["bad", "good"]
        found = model.classify(["the quick fox 3", "the lazy dog 100 and other animals"])
        alone = model.classify("the quick fox 3")
        assert alone.scores == pytest.approx(found[0].scores, abs=1e-5)
        virtual = method.get("tokens", 0)
        assert model.context_length == 64 - virtual


@pytest.mark.parametrize("method", [LORA, {"kind": "prompt-tuning", "tokens": 3}, {"kind": "ia3"}],
                         ids=lambda method: str(method["kind"]))  # fmt: skip
@pytest.mark.parametrize("base", ["base/t5", "base/marian"])
def test_an_encoder_decoder_model_translates(
    library: Library, tmp_path: Path, base: str, method: dict[str, Any]
) -> None:
    train(tmp_path, "seq2seq", base, PAIRS, method)
    with llmasos.load("my/result") as model:
        texts = ["the fox jumps", "the fox jumps over the lazy dog while"]
        together = model.generate(texts, max_tokens=6, num_beams=1)
        assert [model.generate(text, max_tokens=6, num_beams=1).text for text in texts] == [
            item.text for item in together
        ]
        beams = model.generate(texts, max_tokens=6, num_beams=2)
        assert len(beams) == 2


@pytest.mark.parametrize("kind", ["prompt-tuning", "prefix-tuning", "p-tuning", "ia3"])
def test_adapters_that_the_engine_does_not_apply_run_through_transformers(
    library: Library, tmp_path: Path, kind: str
) -> None:
    method = {"kind": kind, **({"tokens": 3} if kind != "ia3" else {})}
    train(tmp_path, "sft", "base/llama", CONVERSATIONS, method)
    with llmasos.load("my/result", dtype="float32") as model:
        prompts = ["Say hello", "Say the quick brown fox jumps"]
        options = {"max_tokens": 6, "ignore_eos": True, "temperature": 0}
        together = model.chat([[{"role": "user", "content": text}] for text in prompts], **options)
        alone = [model.chat(text, **options) for text in prompts]
        assert [item.token_ids for item in together] == [item.token_ids for item in alone]


def test_scores_of_the_published_model_are_those_of_the_trained_one(library: Library, tmp_path: Path) -> None:
    from llmasos.modeling.finding import verified_folder
    from llmasos.modeling.weights import load_weights

    result = train(tmp_path, "classify", "base/bert-classifier", LABELLED, {"kind": "prompt-tuning", "tokens": 3})
    again: Any = load_weights(verified_folder("my/result", result.version, library), "float32", "cpu")
    base = library.resolve("base/bert-classifier")
    direct: Any = load_weights(verified_folder("base/bert-classifier", base, library), "float32", "cpu")
    ids = torch.randint(5, 100, (1, 7))
    assert again(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.shape == (1, 2)
    assert direct(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.shape == (1, 3)
    tensors = AdapterFolder.open(library.view(result.version)).tensors
    assert {"prompt_embeddings", "base_model.classifier.weight"} <= set(tensors)


def test_merged_by_the_recipe(library: Library, tmp_path: Path) -> None:
    result = train(tmp_path, "sft", "base/llama", CONVERSATIONS, LORA, output={"merge": True})
    metadata = library.resolve("my/result").metadata
    assert metadata.kind == "model"
    assert metadata.chat_template
    assert (result.folder / "model.safetensors").is_file()
    [step] = library.lineage(result.version.digest)
    assert json.loads(step.document)["metrics"]["merge.agreement"] == 1
    with llmasos.load("my/result") as model:
        assert model.chat("Say hello", max_tokens=4).usage.completion_tokens > 0


def test_merged_by_hand(library: Library, tmp_path: Path) -> None:
    train(tmp_path, "sft", "base/llama", CONVERSATIONS, LORA)
    merged = llmasos.merge("my/result")
    assert str(merged.name.without_digest()) == "my/result-merged:latest"
    assert merged.report.merged.relative < merged.report.effect.relative / 20
    with llmasos.load("my/result-merged") as model:
        assert model.chat("Say hello", max_tokens=4, ignore_eos=True).usage.completion_tokens == 4
    roles = [role for role, _, _ in library.lineage(merged.version.digest)[0].inputs]
    assert roles == ["base", "adapter"]
    with pytest.raises(Unsupported, match="not an adapter"):
        llmasos.merge("base/llama")


def test_a_missing_base_is_named(library: Library, tmp_path: Path) -> None:
    train(tmp_path, "sft", "base/llama", CONVERSATIONS, LORA)
    library.remove("base/llama", force=True)
    library.gc()
    with pytest.raises(NotFound, match="its base sha256:"):
        llmasos.load("my/result")


def test_paths_of_this_machine_stay_here(tmp_path: Path) -> None:
    written = portable({"data": {"train": [{"path": [str(tmp_path / "a.jsonl"), "b.jsonl"]}]},
                        "model": {"reference": str(tmp_path / "model")}, "prompts": ["/tell me"]})  # fmt: skip
    assert written == {"data": {"train": [{"path": ["a.jsonl", "b.jsonl"]}]}, "model": {"reference": "model"},
                       "prompts": ["/tell me"]}  # fmt: skip
