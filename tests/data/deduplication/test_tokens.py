"""Tokens and shingles, against plain Python on strings."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos.data.deduplication.shingles import run_hashes, shingle_sets
from llmasos.data.deduplication.tokens import fold, tokenize


def plain_words(text: str) -> list[str]:
    """The same tokens, one character after the other."""
    words: list[str] = []
    current = ""
    for char in fold(text):
        code = ord(char)
        single = any(
            first <= code <= last
            for first, last in (
                (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3040, 0x30FF),
                (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF),
            )
        )  # fmt: skip
        letter = unicodedata.category(char)[0] in "LMN" if code < 0x20000 else single
        if letter and not single:
            current += char
            continue
        words += [current] if current else []
        current = ""
        words += [char] if letter or (single and code >= 0x20000) else []
    return words + ([current] if current else [])


def words_of(texts: list[str]) -> list[list[str]]:
    tokens = tokenize(texts)
    return [
        tokens.words(int(start), int(end)) for start, end in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  ... !", []),
        ("Hello, WORLD!", ["hello", "world"]),
        ("ＡＢＣ１２", ["abc12"]),
        ("今天 is 好天", ["今", "天", "is", "好", "天"]),
        ("naïve cafe\u0301", ["naïve", "café"]),
        ("𠀀𠀁", ["𠀀", "𠀁"]),
        ("สวัสดี", list("สวัสดี")),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("don't", ["don", "t"]),
        ("a\ud800b 😀", ["a", "b"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of([text]) == [words]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=20), st.text(alphabet="ab c\n今天ÀＡ𠀀", max_size=20)), max_size=6))
def test_tokens_are_those_of_plain_python_and_equal_tokens_have_equal_hashes(texts: list[str]) -> None:
    found = words_of(texts)
    assert found == [plain_words(text) for text in texts]
    tokens = tokenize(texts)
    by_word: dict[str, int] = {}
    for word, value in zip([word for words in found for word in words], tokens.hashes.tolist(), strict=True):
        assert by_word.setdefault(word, value) == value
    assert len(set(by_word.values())) == len(by_word)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet="ab c\n今天À", max_size=30), max_size=4), st.integers(1, 9))
def test_tokens_do_not_depend_on_the_window(texts: list[str], window: int) -> None:
    whole, cut = tokenize(texts), tokenize(texts, window=window)
    for name in ("hashes", "starts", "ends", "offsets"):
        assert getattr(whole, name).tolist() == getattr(cut, name).tolist()


def test_order_of_characters_and_words_counts() -> None:
    tokens = tokenize(["abc cba bca", "one two three", "three two one"])
    assert len(set(tokens.hashes[:3].tolist())) == 3
    sets = shingle_sets(tokens, 3)
    assert sets.hashes[1] != sets.hashes[2]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet="ab 今", max_size=30), min_size=1, max_size=5), st.integers(1, 5))
def test_shingles_are_the_sets_of_plain_python(texts: list[str], size: int) -> None:
    sets = shingle_sets(tokenize(texts), size)
    expected = []
    for text in texts:
        words = plain_words(text)
        runs = (
            {tuple(words[place : place + size]) for place in range(max(1, len(words) - size + 1))} if words else set()
        )
        expected.append(len(runs))
    assert np.diff(sets.offsets).tolist() == expected
    for start, end in zip(sets.offsets[:-1], sets.offsets[1:], strict=True):
        part = sets.hashes[start:end].astype(np.int64)
        assert (np.diff(part) > 0).all()


def test_a_text_alone_and_among_others_has_the_same_shingles() -> None:
    texts = ["the quick brown fox", "", "x", "今天天气很好啊", "the quick brown fox jumps"]
    together = shingle_sets(tokenize(texts), 3)
    for number, text in enumerate(texts):
        alone = shingle_sets(tokenize([text]), 3)
        assert (
            together.hashes[together.offsets[number] : together.offsets[number + 1]].tolist() == alone.hashes.tolist()
        )


def test_runs_longer_than_the_text_are_none() -> None:
    assert len(run_hashes(tokenize(["one two"]).hashes, 3)) == 0
