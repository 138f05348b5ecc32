from __future__ import annotations

from pathlib import Path

import pytest

import llmasos
import tiny_models
from llmasos.errors import InvalidRequest, Unsupported
from llmasos.evaluation.backends.open import backend_of
from llmasos.evaluation.backends.protocol import Call, Label, PromptInput, Write


def test_a_classifier_labels_texts_and_pairs(tmp_path: Path) -> None:
    with llmasos.load(tiny_models.build("bert_classifier", tmp_path / "bert")) as model:
        backend = backend_of(model, digest="sha256:1")
        assert backend.abilities == {"classify"}
        assert backend.labels == ["negative", "neutral", "positive"]
        assert backend.digest == "sha256:1"
        calls = [Label("the model reads"), Label("the model", "reads"), Label("words " * 200)]
        answers = dict(backend.run(calls))
        for index, text in enumerate(("the model reads", ("the model", "reads"))):
            expected = model.classify(text)
            assert answers[index].scores == pytest.approx(dict(expected.scores))
            assert answers[index].prompt_tokens == expected.tokens
        assert answers[1].prompt == "the model\nreads"
        assert answers[2].truncated_tokens > 100
        assert answers[2].prompt_tokens == 64
        with pytest.raises(InvalidRequest, match="cannot write"):
            list(backend.run([Write(PromptInput("x"), 4)]))


def test_an_encoder_decoder_model_answers(tmp_path: Path) -> None:
    with llmasos.load(tiny_models.build("t5", tmp_path / "t5")) as model:
        backend = backend_of(model)
        assert backend.abilities == {"generate"}
        texts = ["the model reads", "words"]
        calls: list[Call] = [Write(PromptInput("Translate: " + text), 6, source=text) for text in texts]
        calls.append(Write(PromptInput("the model"), 3))
        calls.append(Write(PromptInput("the model"), 6, temperature=1.0, samples=3, seed=4))
        answers = dict(backend.run(calls))
        for index, text in enumerate(texts):
            expected = model.generate(text, max_tokens=6)
            assert answers[index].outputs[0].text == expected.text
            assert answers[index].prompt == text
        assert answers[2].outputs[0].text == model.generate("the model", max_tokens=3).text
        assert len(answers[3].outputs) == 3
        assert answers[3].outputs == dict(backend.run(calls[3:]))[0].outputs
        with pytest.raises(InvalidRequest, match="do not rate"):
            list(backend.run([Label("x")]))


def test_a_model_that_only_embeds_cannot_be_evaluated(tmp_path: Path) -> None:
    folder = tiny_models.build("sentence_transformer", tmp_path / "st")
    with llmasos.load(folder) as model, pytest.raises(Unsupported, match="it can embed, tokenize"):
        backend_of(model)
