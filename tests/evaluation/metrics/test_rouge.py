from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score import rouge_scorer

from llmasos.evaluation.metrics.base import Context
from llmasos.evaluation.metrics.rouge import subsequence_length
from score_records import scores, texts

ENGLISH = Context(language="en")
VARIANTS = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
SUMMARIES = [
    ("Police killed the gunman.\nNobody else was hurt.", "The gunman was killed by police.\nNo one else got hurt."),
    ("studies of running dogs", "The study shows that dogs run"),
    ("the the the cat", "the cat the dog"),
    ("", "something"),
    ("!!!", "something else"),
    ("naïve café costs 3.50", "A naive cafe costs 3,50"),
]
words = st.sampled_from(["the", "cat", "cats", "running", "ran", "a", "Police", "42", "\n", ".", "é", "don't"])
sentences = st.lists(words, max_size=14).map(" ".join)


def _expected(output: str, known: str, stem: bool = True) -> dict[str, float]:
    scorer = rouge_scorer.RougeScorer(VARIANTS, use_stemmer=stem)
    return {name: score.fmeasure for name, score in scorer.score(known, output).items()}


@pytest.mark.parametrize("stem", [True, False])
@pytest.mark.parametrize(("output", "known"), SUMMARIES)
def test_english_equals_rouge_score(output: str, known: str, stem: bool) -> None:
    found = scores(texts([(output, known)]), "rouge", ENGLISH, stem=stem)
    assert {name: score.value for name, score in found.items()} == pytest.approx(
        _expected(output, known, stem), abs=1e-6
    )


@settings(max_examples=150, deadline=None)
@given(sentences, sentences)
def test_any_english_equals_rouge_score(output: str, known: str) -> None:
    found = scores(texts([(output, known)]), "rouge", ENGLISH)
    assert {name: score.value for name, score in found.items()} == pytest.approx(_expected(output, known), abs=1e-6)


def test_precision_and_recall_equal_rouge_score() -> None:
    measures = ("f1", "precision", "recall")
    found = scores(texts([SUMMARIES[0]]), "rouge", ENGLISH, measures=measures)
    expected = rouge_scorer.RougeScorer(VARIANTS, use_stemmer=True).score(SUMMARIES[0][1], SUMMARIES[0][0])
    for name, score in expected.items():
        assert found[f"{name}_precision"].value == pytest.approx(score.precision, abs=1e-6)
        assert found[f"{name}_recall"].value == pytest.approx(score.recall, abs=1e-6)


def test_the_best_of_several_references_counts() -> None:
    output, known = "the cat sat", ["a dog ran away", "the cat sat down", "cats"]
    scorer = rouge_scorer.RougeScorer(VARIANTS, use_stemmer=True)
    expected = {name: score.fmeasure for name, score in scorer.score_multi(known, output).items()}
    found = scores(texts([(output, known)]), "rouge", ENGLISH)
    assert {name: score.value for name, score in found.items()} == pytest.approx(expected, abs=1e-6)


def test_chinese_is_not_zero_as_it_is_in_rouge_score() -> None:
    output, known = "今天北京下雪了", "北京今天下大雪"
    assert set(_expected(output, known).values()) == {0.0}
    found = {name: score.value for name, score in scores(texts([(output, known)]), "rouge", Context("zh")).items()}
    # By hand: six of seven characters on each side are shared, and the bigrams 今天 and 北京 of six.
    assert found["rouge1"] == pytest.approx(6 / 7)
    assert found["rouge2"] == pytest.approx(2 / 6)
    # The longest common subsequence is 今天下雪 or 北京下雪: four characters.
    assert found["rougeL"] == pytest.approx(4 / 7)
    assert found["rougeLsum"] == pytest.approx(4 / 7)


def test_chinese_may_be_cut_into_words() -> None:
    pairs = texts([("我们喜欢自然语言处理", "他们喜欢自然语言处理")])
    by_word = scores(pairs, "rouge", Context("zh"), chinese="words")["rouge1"].value
    by_character = scores(pairs, "rouge", Context("zh"))["rouge1"].value
    assert 0 < by_word < by_character == pytest.approx(0.9)


def test_both_languages_in_one_text_count() -> None:
    pairs = texts([("用 PyTorch 训练 GPT-4 模型", "用 PyTorch 训练 BERT 模型")])
    # 用 pytorch 训 练 gpt 4 模 型 against 用 pytorch 训 练 bert 模 型: six shared of eight and seven.
    for language in ("zh", "en", None):
        assert scores(pairs, "rouge", Context(language))["rouge1"].value == pytest.approx(2 * 6 / (8 + 7))


def test_other_scripts_count_as_well() -> None:
    pairs = texts([("Привет, мир", "Привет всем")])
    assert scores(pairs, "rouge", Context("ru"))["rouge1"].value == 0.5


def test_sentences_of_chinese_are_found_at_their_ends() -> None:
    pairs = texts([("下雪了。天很冷。", "天很冷。下雪了。")])
    by_line = scores(pairs, "rouge", Context("zh"))["rougeLsum"].value
    by_sentence = scores(pairs, "rouge", Context("zh"), sentences="punctuation")["rougeLsum"].value
    assert by_line == pytest.approx(0.5)
    assert by_sentence == pytest.approx(1)


def _table(first: str, second: str) -> int:
    rows = [[0] * (len(second) + 1)]
    for char in first:
        rows.append([0])
        for place, other in enumerate(second):
            rows[-1].append(rows[-2][place] + 1 if char == other else max(rows[-2][place + 1], rows[-1][-1]))
    return rows[-1][-1]


@given(st.text("abc", max_size=80), st.text("abcd", max_size=80))
def test_the_length_of_subsequences_is_that_of_the_table(first: str, second: str) -> None:
    assert subsequence_length(first, second) == _table(first, second)
