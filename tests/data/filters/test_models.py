"""Filters that ask a model: perplexity against transformers, labels of a classifier."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers
from pydantic import ValidationError

import llmasos
from data_rows import prompt, row, rows
from llmasos.data.filters import models
from llmasos.data.filters.models import FilterClassifier, FilterPerplexity, perplexities
from llmasos.errors import InvalidRecipe, Unsupported
from tiny_models import build

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "今天天气很好。",
    "zq xv 88 #@!",
    "",
    "a b c d e f g h i j k " * 4,
]


@pytest.fixture(autouse=True)
def unload(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Load each model once for a test and free it afterwards."""
    loaded: dict[str, llmasos.Model] = {}

    def load(reference: str) -> llmasos.Model:
        if reference not in loaded:
            loaded[reference] = llmasos.load(reference)
        return loaded[reference]

    monkeypatch.setattr(models, "_load", load)
    yield
    for model in loaded.values():
        model.close()


@pytest.fixture
def llama(tmp_path: Path) -> str:
    return str(build("llama", tmp_path / "llama"))


@pytest.fixture
def classifier(tmp_path: Path) -> str:
    return str(build("bert_classifier", tmp_path / "classifier"))


def reference_perplexity(folder: str, text: str, window: int) -> float | None:
    """The same by transformers: windows that begin after the begin token."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    tokens = tokenizer.encode(text, add_special_tokens=False)
    total = 0.0
    for start in range(0, len(tokens), window):
        ids = torch.tensor([[begin, *tokens[start : start + window]]])
        with torch.no_grad():
            logits = model(ids).logits[0, :-1].log_softmax(-1)
        total -= logits[torch.arange(len(ids[0]) - 1), ids[0, 1:]].sum().item()
    return math.exp(total / len(tokens)) if tokens else None


def test_perplexity_is_that_of_transformers(llama: str) -> None:
    found = perplexities(llama, TEXTS, 16)
    for text, value in zip(TEXTS, found, strict=True):
        expected = reference_perplexity(llama, text, 16)
        assert value is None if expected is None else value == pytest.approx(expected, rel=0.05)


def test_rows_outside_the_limits_are_rejected_with_the_value(llama: str) -> None:
    value = perplexities(llama, TEXTS[:1], 512)[0]
    assert value is not None
    low = FilterPerplexity(model=llama, least=value + 1).build()
    high = FilterPerplexity(model=llama, most=value - 1).build()
    both = FilterPerplexity(model=llama, least=value - 1, most=value + 1).build()
    for built, expected in ((low, "perplexity_too_low"), (high, "perplexity_too_high")):
        verdict = built.judge(rows(TEXTS[:1]))[0]
        assert verdict is not None
        assert verdict.reason == expected
        assert f"perplexity {value:.4g}" in verdict.detail
    verdicts = both.judge(rows([TEXTS[0], ""]))
    assert verdicts[0] is None
    assert verdicts[1] is not None and verdicts[1].reason == "perplexity_undefined"
    with pytest.raises(ValidationError, match="give least, most or both"):
        FilterPerplexity(model=llama)


def test_the_verdict_does_not_depend_on_the_batch(llama: str) -> None:
    together = perplexities(llama, TEXTS, 512)
    alone = [perplexities(llama, [text], 512)[0] for text in TEXTS]
    for first, second in zip(together, alone, strict=True):
        assert first is second is None or first == pytest.approx(second, rel=0.02)


def test_a_classifier_measures_no_perplexity(classifier: str) -> None:
    with pytest.raises(Unsupported):
        perplexities(classifier, TEXTS[:1], 512)


def test_labels_are_kept_or_rejected(classifier: str) -> None:
    model = llmasos.load(classifier)
    result = model.classify(TEXTS[0])
    other = next(label for label in model.labels if label != result.label)
    data = [row(TEXTS[0])]
    assert FilterClassifier(model=classifier, labels=(result.label,)).build().judge(data) == [None]
    wrong = FilterClassifier(model=classifier, labels=(other,)).build().judge(data)[0]
    assert wrong is not None
    assert wrong.reason == "classifier_label"
    assert wrong.detail == f"{result.label} with score {result.score:.3f}, wanted {other}"
    unsure = FilterClassifier(model=classifier, labels=(result.label,), confidence=1.0).build().judge(data)[0]
    assert unsure is not None and unsure.reason == "classifier_not_certain"
    with pytest.raises(InvalidRecipe, match="has no label 'nonsense'"):
        FilterClassifier(model=classifier, labels=("nonsense",)).build().judge(data)
    model.close()


def test_long_texts_are_judged_by_their_beginning_or_rejected(classifier: str) -> None:
    model = llmasos.load(classifier)
    text = "The quick brown fox. " * 400
    labels = tuple(model.labels)
    assert model.classify(text, truncate="end").truncated_tokens > 0
    assert FilterClassifier(model=classifier, labels=labels).build().judge([row(text)]) == [None]
    rejected = FilterClassifier(model=classifier, labels=labels, too_long="reject").build().judge([row(text)])[0]
    assert rejected is not None and rejected.reason == "classifier_too_long"
    only = FilterClassifier(model=classifier, labels=labels, too_long="reject", places=("prompt",)).build()
    assert only.judge([prompt("short", text)]) == [None]
    model.close()
