from __future__ import annotations

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos.errors import InvalidRequest
from llmasos.evaluation.metrics.aggregation import Aggregation
from llmasos.evaluation.metrics.base import Context
from score_records import record, scores, texts

ENGLISH = [
    ("The cat sat on the mat.", "The cat is sitting on the mat."),
    ("It rains today, so we stay in.", "It is raining today, so we stay at home."),
    ("Hello", "Hello there, world!"),
    ("", "Nothing was written."),
    ("He bought 3 apples for $1.50.", "He bought three apples for $1.50."),
]
CHINESE = [("今天天气很好，我们去公园。", "今天天气不错，我们去公园散步。"), ("他喜欢看书", "他很喜欢读书。")]

words = st.lists(st.sampled_from(["the", "cat", "sat", "mat", ",", "a", "Dog", "12.5", "café"]), max_size=9)
corpora = st.lists(st.tuples(words.map(" ".join), words.filter(len).map(" ".join)), min_size=1, max_size=5)


def _streams(pairs: list[tuple[str, str]]) -> tuple[list[str], list[list[str]]]:
    return [output for output, _ in pairs], [[known for _, known in pairs]]


@pytest.mark.parametrize(("pairs", "language", "tokenizer"), [(ENGLISH, "en", "13a"), (CHINESE, "zh", "zh"),
                                                              (ENGLISH, None, "13a"), (CHINESE, "zh-Hant", "zh"),
                                                              (ENGLISH, "ja", "char")])  # fmt: skip
def test_bleu_equals_sacrebleu(pairs: list[tuple[str, str]], language: str | None, tokenizer: str) -> None:
    found = scores(texts(pairs), "bleu", Context(language=language))["bleu"]
    expected = sacrebleu.BLEU(tokenize=tokenizer)
    assert found.value == pytest.approx(expected.corpus_score(*_streams(pairs)).score, abs=1e-6)
    assert found.signature == expected.get_signature().format()
    assert f"tok:{tokenizer}" in (found.signature or "")


def test_sentences_have_the_bleu_of_sacrebleu_for_sentences() -> None:
    found = scores(texts(ENGLISH), "bleu", Context(language="en"))["bleu"]
    expected = sacrebleu.BLEU(effective_order=True)
    assert found.per_sample is not None
    for value, (output, known) in zip(found.per_sample, ENGLISH, strict=True):
        assert value == pytest.approx(expected.sentence_score(output, [known]).score, abs=1e-6)


@pytest.mark.parametrize("order", [0, 2])
@pytest.mark.parametrize("pairs", [ENGLISH, CHINESE])
def test_chrf_equals_sacrebleu(pairs: list[tuple[str, str]], order: int) -> None:
    found = scores(texts(pairs), "chrf", word_order=order)["chrf"]
    expected = sacrebleu.CHRF(word_order=order)
    assert found.value == pytest.approx(expected.corpus_score(*_streams(pairs)).score, abs=1e-6)
    assert found.signature == expected.get_signature().format()


def test_ter_equals_sacrebleu() -> None:
    found = scores(texts(ENGLISH), "ter", Context(language="en"))["ter"]
    expected = sacrebleu.TER()
    assert found.value == pytest.approx(expected.corpus_score(*_streams(ENGLISH)).score, abs=1e-6)
    assert found.signature == expected.get_signature().format()
    assert not found.higher_is_better
    chinese = scores(texts(CHINESE), "ter", Context(language="zh"))["ter"]
    by_character = sacrebleu.TER(normalized=True, asian_support=True)
    assert chinese.value == pytest.approx(by_character.corpus_score(*_streams(CHINESE)).score, abs=1e-6)
    assert 0 < chinese.value < 100


@settings(max_examples=60, deadline=None)
@given(corpora)
def test_all_three_equal_sacrebleu_on_any_text(pairs: list[tuple[str, str]]) -> None:
    streams = _streams(pairs)
    for name, expected in (("bleu", sacrebleu.BLEU()), ("chrf", sacrebleu.CHRF()), ("ter", sacrebleu.TER())):
        found = scores(texts(pairs), name, Context(language="en"))[name]
        assert found.value == pytest.approx(expected.corpus_score(*streams).score, abs=1e-6)


def test_samples_may_have_different_numbers_of_references() -> None:
    known = [
        ["The cat sat on the mat.", "A cat was on the mat."],
        ["It rains today."],
        ["Hello!", "Hi!", "Hello there!"],
    ]
    outputs = ["The cat was on the mat.", "It rains.", "Hello there"]
    streams = [[refs[place] if place < len(refs) else None for refs in known] for place in range(3)]
    for name, expected in (("bleu", sacrebleu.BLEU()), ("chrf", sacrebleu.CHRF()), ("ter", sacrebleu.TER())):
        found = scores(texts(list(zip(outputs, known, strict=True))), name)[name]
        assert found.value == pytest.approx(expected.corpus_score(outputs, streams).score, abs=1e-6)  # type: ignore[arg-type]
        assert (found.signature or "").startswith("nrefs:var")


def test_options_are_those_of_sacrebleu() -> None:
    lower = scores(texts([("THE CAT SAT HERE", "the cat sat here")]), "bleu", lowercase=True, tokenizer="none")["bleu"]
    assert lower.value == pytest.approx(100)
    assert "case:lc" in (lower.signature or "")
    assert "tok:none" in (lower.signature or "")


def test_a_sample_without_a_reference_is_named() -> None:
    with pytest.raises(InvalidRequest, match="chrf needs references, and sample 7 has none"):
        scores([record(7, parsed="x")], "chrf")


def test_what_could_not_be_read_counts_as_nothing_written() -> None:
    records = texts([("good text here now", "good text here now")])
    records.append(record(1, output="noise", parsed=None, references=("other text here now",)))
    assert scores(records, "chrf")["chrf"].value < 80
    assert scores(records, "chrf")["chrf"].per_sample.tolist()[1] == 0  # type: ignore[union-attr]


def test_resampled_sums_give_the_score_of_the_resample() -> None:
    import numpy as np

    drawn = [0, 0, 4, 2, 1]
    for name, expected in (("bleu", sacrebleu.BLEU()), ("chrf", sacrebleu.CHRF()), ("ter", sacrebleu.TER())):
        found = scores(texts(ENGLISH), name)[name]
        assert found.sums is not None
        assert isinstance(found.aggregation, Aggregation)
        value = found.aggregation(np.stack([found.sums[drawn].sum(axis=0)] * 2))
        again = _streams([ENGLISH[place] for place in drawn])
        assert value.tolist() == pytest.approx([expected.corpus_score(*again).score] * 2, abs=1e-6)
