"""Sentences and words equal NLTK and jieba; without data of NLTK nothing is downloaded and pySBD does the work."""

from __future__ import annotations

import socket
from pathlib import Path

import jieba
import nltk
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos.data.linguistics.sentences import (
    Segmenter,
    SegmentSentences,
    punkt_data_is_here,
    segmenter_for,
    sentence_spans,
)
from llmasos.data.linguistics.words import SegmentWords, segment_words
from llmasos.errors import NotFound, Unsupported

ENGLISH = (
    'Dr. Smith went to Washington. He didn\'t arrive at 3.5 p.m.! Really?  Yes (he said).\nNo "more" of it, e.g. this.'
)
CHINESE = "今天天气很好。“你去哪儿？”他问。我说：去北京！价格是3.14元，见www.x.cn吧……好"


def sentences(text: str, language: str = "auto", segmenter: Segmenter = "auto") -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text, language, segmenter)]


def test_sentences_equal_nltk_where_its_data_are(nltk_data: Path) -> None:
    assert punkt_data_is_here()
    assert segmenter_for("en") == "punkt"
    assert sentences(ENGLISH) == nltk.sent_tokenize(ENGLISH)
    assert sentences(ENGLISH)[0] == "Dr. Smith went to Washington."


def test_words_equal_nltk(nltk_data: Path) -> None:
    assert segment_words(ENGLISH) == nltk.word_tokenize(ENGLISH)
    assert segment_words('I can\'t say "no" to 50% of it.') == nltk.word_tokenize('I can\'t say "no" to 50% of it.')


def test_words_of_chinese_equal_jieba() -> None:
    assert segment_words(CHINESE) == jieba.lcut(CHINESE)
    assert segment_words("我来到 北京清华大学\n") == ["我", "来到", "北京", "清华大学"]


def test_without_data_pysbd_works_and_nothing_is_fetched(
    without_nltk_data: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("the network is used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert segmenter_for("en") == "pysbd"
    assert sentences(ENGLISH) == [
        "Dr. Smith went to Washington.", "He didn't arrive at 3.5 p.m.!", "Really?", "Yes (he said).",
        'No "more" of it, e.g. this.',
    ]  # fmt: skip
    with pytest.raises(NotFound, match="not on this machine") as error:
        sentences(ENGLISH, segmenter="punkt")
    assert "NLTK_DATA" in str(error.value.hint)


def test_chinese_sentences() -> None:
    assert segmenter_for("zh") == "rules"
    assert sentences(CHINESE) == [
        "今天天气很好。", "“你去哪儿？”", "他问。", "我说：去北京！", "价格是3.14元，见www.x.cn吧……", "好",
    ]  # fmt: skip
    assert sentences("一\n\n二。三", "zh") == ["一", "二。", "三"]


@pytest.mark.parametrize("language", ["xx", "tlh"])
def test_an_unknown_language_is_refused(language: str, without_nltk_data: None) -> None:
    with pytest.raises(Unsupported, match=f"does not know the language '{language}'"):
        sentences("Some text.", language)


@pytest.mark.parametrize("language", ["ja", "th"])
def test_words_of_languages_without_spaces_are_refused(language: str) -> None:
    with pytest.raises(Unsupported, match="written without spaces"):
        segment_words("text", language)


def test_the_steps_write_sentences_and_words() -> None:
    assert SegmentSentences(segmenter="pysbd").build()("One. Two\nthree.") == ("One.\nTwo\nthree.", {"sentences": 3})
    assert SegmentSentences().build()("") == ("", {})
    assert SegmentWords(segmenter="pysbd").build()("Don't go!") == ("Do n't go !", {"words": 4})
    assert SegmentWords().build()("我来到北京") == ("我 来到 北京", {"words": 3})


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(st.text(max_size=60), st.text(alphabet="aB. \n!?\"'()。！”1", max_size=60)),
    st.sampled_from(["pysbd", "rules"]),
)
def test_any_text_has_sentences_and_none_of_it_is_lost(text: str, segmenter: Segmenter) -> None:
    spans = sentence_spans(text, "en", segmenter)
    place = 0
    for start, end in spans:
        assert place <= start < end
        assert not text[place:start].strip()
        place = end
    assert not text[place:].strip()


@settings(max_examples=40, deadline=None)
@given(st.one_of(st.text(max_size=40), st.text(alphabet="今天我。ab \n", max_size=40)))
def test_any_text_has_words(text: str) -> None:
    words = segment_words(text, segmenter="pysbd")
    assert all(word.strip() for word in words)
