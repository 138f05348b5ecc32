from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.evaluation.metrics.answers import overlap_f1
from llmasos.evaluation.metrics.base import Context
from llmasos.evaluation.metrics.text import answer_tokens, normalize_answer
from score_records import record, scores, texts


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("  The  Eiffel Tower! ", "en", "eiffel tower"),
        ("the theatre", "en", "theatre"),
        ("La Tour", "fr", "la tour"),
        ("the tower", "de", "the tower"),
        ("U.S.A.", "en", "usa"),
        ("《红楼梦》。", "zh", "红楼梦"),
        ("ＡＢＣ１２３", "zh", "abc123"),
        ("北京 大学", "zh", "北京大学"),
        ("用 Python 3 写", "zh", "用python 3写"),
        ("$5", "en", "5"),
        ("！？", "zh", ""),
    ],
)
def test_normal_forms(text: str, language: str, expected: str) -> None:
    assert normalize_answer(text, language) == expected


@given(st.text(max_size=60), st.sampled_from(["en", "zh", None]))
def test_a_normal_form_stays_as_it_is(text: str, language: str | None) -> None:
    once = normalize_answer(text, language)
    assert normalize_answer(once, "xx") == once
    assert "".join(answer_tokens(text, language)) == once.replace(" ", "")


def test_exact_match_compares_with_every_reference() -> None:
    records = texts([("The Tower.", ["eiffel", "tower"]), ("北京。", "北京"), ("Rome", "Paris")])
    records.append(record(3, output="Rome", parsed=None, references=("Rome",)))
    assert scores(records, "exact_match", Context("en"))["exact_match"].per_sample.tolist() == [1, 1, 0, 0]  # type: ignore[union-attr]
    strict = scores(texts([("Rome ", "Rome"), ("rome", "Rome")]), "exact_match", normalization="none")
    assert strict["exact_match"].value == 0
    blanks = scores(texts([("Rome ", "Rome"), ("rome", "Rome")]), "exact_match", normalization="blanks")
    assert blanks["exact_match"].value == 0.5


def test_token_f1() -> None:
    # "the" falls away; eiffel tower | in paris against eiffel tower: two shared of four and two.
    records = texts([("The Eiffel Tower in Paris", "Eiffel Tower"), ("北京大学", ["清华", "北大"]), ("", "x")])
    found = scores(records, "token_f1", Context("en"))["token_f1"]
    assert found.per_sample is not None
    assert found.per_sample.tolist() == pytest.approx([2 * 2 / 6, 2 * 2 / 6, 0])
    assert overlap_f1([], []) == 1
