from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import PreTrainedTokenizerFast

import tiny_models
from llmasos import load
from llmasos.errors import ContextLengthExceeded, InvalidRequest
from llmasos.modeling.classification import Classifier
from llmasos.modeling.folder import ModelFolder
from llmasos.modeling.loading import Placement, build_model
from llmasos.modeling.model import Model

Get = Callable[[str], Model]
TEXTS = ["This is a great movie!", "I hated it.", "", "the quick brown fox jumps over the lazy dog " * 2, "你好"]
NAMES = ["bert_classifier", "distilbert_classifier", "roberta_classifier", "bart_classifier"]


@pytest.fixture(params=["transformers", "engine"])
def backend(request: pytest.FixtureRequest) -> str:
    """Alone, and through the engine in which callers share batches."""
    return str(request.param)


def logits(folder: Path, model: Model, text: str, pair: str | None = None) -> torch.Tensor:
    """transformers' own, one text at a time, without padding."""
    theirs = getattr(transformers, model.architecture).from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    inputs = tokenizer(text, pair, return_tensors="pt", return_token_type_ids=model.architecture.startswith("BertFor"))
    with torch.no_grad():
        return theirs(**inputs).logits[0]  # type: ignore[no-any-return]


def in_order(model: Model, scores: Any) -> torch.Tensor:
    return torch.tensor([scores[label] for label in model.labels])


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_transformers(name: str, tiny: Callable[[str], Path], model: Get) -> None:
    squash = {"bert_classifier": lambda x: x.softmax(-1), "bart_classifier": lambda x: x.softmax(-1),
              "distilbert_classifier": torch.sigmoid, "roberta_classifier": torch.sigmoid}[name]  # fmt: skip
    results = model(name).classify(TEXTS)
    for text, result in zip(TEXTS, results, strict=True):
        expected = squash(logits(tiny(name), model(name), text))
        torch.testing.assert_close(in_order(model(name), result.scores), expected, atol=2e-6, rtol=1e-5)
        assert list(result.scores.values()) == sorted(result.scores.values(), reverse=True)
        assert (result.label, result.score) == next(iter(result.scores.items()))
    assert len({round(result.score, 4) for result in results}) > 2, "the tiny model must tell texts apart"


@pytest.mark.parametrize("name", NAMES)
def test_pairs_are_those_of_transformers(name: str, tiny: Callable[[str], Path], model: Get) -> None:
    first, second = "A great movie", "the lazy dog"
    result = model(name).classify(first, pair=second)
    scores = logits(tiny(name), model(name), first, second)
    expected = scores.softmax(-1) if name in ("bert_classifier", "bart_classifier") else scores.sigmoid()
    torch.testing.assert_close(in_order(model(name), result.scores), expected, atol=2e-6, rtol=1e-5)
    assert model(name).classify((first, second)) == result
    assert result.scores != model(name).classify(first).scores


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_gives_what_single_calls_give(name: str, model: Get) -> None:
    mixed: list[Any] = [*TEXTS, ("a pair", "of texts"), *TEXTS]
    together = model(name).classify(mixed, batch_size=4)
    for item, result in zip(mixed, together, strict=True):
        alone = model(name).classify(item)
        assert result.label == alone.label
        assert result.tokens == alone.tokens
        for label, score in alone.scores.items():
            assert result.scores[label] == pytest.approx(score, abs=2e-6)


def test_one_label_of_several_sums_to_one(model: Get) -> None:
    for result in model("bert_classifier").classify(TEXTS):
        assert sum(result.scores.values()) == pytest.approx(1.0, abs=1e-6)
        assert result.labels == (result.label,)
        assert set(result.scores) == {"negative", "neutral", "positive"}
        assert str(result) == result.label


def test_independent_labels(model: Get) -> None:
    for result in model("distilbert_classifier").classify(TEXTS):
        assert set(result.labels) == {label for label, score in result.scores.items() if score >= 0.5}


def test_regression_gives_the_raw_number(own: Callable[[str], Path]) -> None:
    path = own("roberta_classifier")
    tiny_models.change_json(path / "config.json", problem_type="regression")
    regressor = load(path)
    assert regressor.classify("a", pair="b").score == pytest.approx(float(logits(path, regressor, "a", "b")[0]), 1e-5)


def test_names_of_labels(own: Callable[[str], Path], tiny: Callable[[str], Path]) -> None:
    def labels(path: Path, given: tuple[str, ...] = ()) -> list[str]:
        return build_model(ModelFolder.open(path, labels=given), Placement()).labels

    assert labels(tiny("distilbert_classifier")) == ["LABEL_0", "LABEL_1"]
    assert labels(tiny("distilbert_classifier"), ("no", "yes")) == ["no", "yes"]
    assert labels(tiny("distilbert_classifier"), ("no", "yes", "maybe")) == ["LABEL_0", "LABEL_1"]
    assert labels(tiny("bert_classifier"), ("a", "b", "c")) == ["negative", "neutral", "positive"]
    path = own("bert_classifier")
    tiny_models.change_json(path / "config.json", id2label={"0": "same", "1": "same", "2": "other"}, label2id={})
    assert labels(path) == ["same (0)", "same (1)", "other (2)"]


def test_texts_that_do_not_fit(model: Get) -> None:
    long = "fox " * 100
    with pytest.raises(ContextLengthExceeded) as caught:
        model("bert_classifier").classify(["short", long])
    assert "text 2" in caught.value.message
    assert "64" in caught.value.message
    end = model("bert_classifier").classify("movie " + long, truncate="end")
    start = model("bert_classifier").classify("movie " + long, truncate="start")
    assert end.tokens == start.tokens == 64
    assert end.truncated_tokens == start.truncated_tokens > 0
    assert end.scores != start.scores
    # positions of RoBERTa begin after the padding id: 66 of them hold 64 tokens
    assert model("roberta_classifier").classify("fox " * 100, truncate="end").tokens == 64


def test_malformed_calls(model: Get) -> None:
    bert: Any = model("bert_classifier")
    for call in (
        lambda: bert.classify(5),
        lambda: bert.classify([("a", "b", "c")]),
        lambda: bert.classify(["a", "b"], pair="c"),
        lambda: bert.classify("a", pair=["c"]),
        lambda: bert.classify(["a"], pair=["b", "c"]),
        lambda: bert.classify("a", batch_size=0),
        lambda: bert.classify("a", truncate="middle"),
    ):
        with pytest.raises(InvalidRequest):
            call()
    with pytest.raises(InvalidRequest, match="batch_size"):
        bert.classify("a", batchsize=4)
    assert bert.classify([]) == []


def test_end_tokens_in_a_text_do_not_break_a_batch(model: Get) -> None:
    """BART reads its answer off the last end token and wants equally many in every row."""
    texts = ["plain", "with </s> inside", "other"]
    together = model("bart_classifier").classify(texts)
    assert [result.label for result in together] == [model("bart_classifier").classify(text).label for text in texts]


def test_weights_that_lack_the_head_are_refused(own: Callable[[str], Path]) -> None:
    from safetensors.torch import load_file, save_file

    from llmasos.errors import IntegrityError

    path = own("bert_classifier")
    tensors = {name: value for name, value in load_file(path / "model.safetensors").items() if "classifier" not in name}
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(IntegrityError, match="classifier"):
        load(path)


def test_classifier_describes_itself(model: Get) -> None:
    part = model("bert_classifier")._parts.classifier
    assert isinstance(part, Classifier)
    assert model("bert_classifier").device == "cpu"
    assert model("bert_classifier").dtype == "float32"
    assert model("bert_classifier").context_length == 64
