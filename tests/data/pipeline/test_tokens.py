"""Counting tokens in a preparation: the numbers of the renderer, long rows rejected, classes learned on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import llmasos
from llmasos.data.output.catalogue import read_split
from llmasos.data.pipeline.tokens import TokenCounter, TokensConfig
from llmasos.data.rendering import Renderer, RenderingOptions
from llmasos.data.row import Label, Origin, Row, Text
from llmasos.library.store import Library
from llmasos.modeling.folder import ModelFolder
from tiny_models import build


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("llama", tmp_path_factory.mktemp("models") / "llama")


def test_tokens_are_counted_and_long_rows_rejected(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = ["the cat sat on the mat " * (number + 1) for number in range(12)]
    Path("a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    prepared = llmasos.prepare(
        {
            "kind": "data",
            "sources": [{"path": "a.jsonl"}],
            "tokens": {"model": str(model), "rendering": {"max_length": 60}},
            "execution": {"workers": 1, "shard_megabytes": 0.001},
        }
    )
    renderer = Renderer.of_model(ModelFolder.open(model, reference="m"), RenderingOptions(max_length=60))
    rows = [Row(str(number), Origin("s", "f", number), Text(text)) for number, text in enumerate(texts)]
    samples = [item.parts["text"] for item in renderer.render(rows) if hasattr(item, "parts")]
    assert 0 < len(samples) < len(texts)
    tokens = prepared.facts["tokens"]
    assert tokens["total"] == sum(map(len, samples))
    assert tokens["trained"] == sum(sample.trained_count for sample in samples)
    assert sum(count for _, _, count in tokens["lengths"]) == len(samples) == prepared.facts["totals"]["kept"]
    assert 0 < tokens["vocabulary_used"] <= tokens["vocabulary_size"]
    (step,) = (step for step in prepared.facts["steps"] if step["name"] == "tokens")
    assert step["rejected"] == {"too_long": len(texts) - len(samples)}
    assert step["counts"]["tokens"] == tokens["total"]
    kept = list(read_split(prepared.version.digest))
    assert [row.metadata["tokens"] for row in kept] == [len(sample) for sample in samples]
    (made,) = Library().lineage(prepared.version)
    assert [role for role, _, _ in made.inputs] == ["data", "tokenizer"]


def test_new_classes_do_not_change_what_was_counted(model: Path) -> None:
    options = RenderingOptions()
    counter = TokenCounter(TokensConfig(folder=model, digest="d", reference="m", options=options))
    rows = [Row(str(number), Origin("s", "f", number), Label("the cat sat", f"class {number}")) for number in range(5)]
    outcomes = [outcome for row in rows for outcome in counter.process([row])]
    assert [outcome.rejection for outcome in outcomes] == [None] * 5
    assert len({outcome.row.metadata["tokens"] for outcome in outcomes}) == 1
