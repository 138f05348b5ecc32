from __future__ import annotations

import re
from html import unescape

from hypothesis import given
from hypothesis import strategies as st

from llmasos.data.report.html import difference, share, visible
from llmasos.data.report.statistics import bin_edges, length_bin

texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cf", "Zs")) | st.just(" "), max_size=60)


def _plain(markup: str) -> str:
    return unescape(re.sub(r"<[^>]+>", "", markup))


@given(texts, texts)
def test_a_difference_holds_both_texts(before: str, after: str) -> None:
    markup = difference(before, after)
    if "gap" in markup:
        return
    assert _plain(re.sub(r"<ins>.*?</ins>", "", markup, flags=re.DOTALL)) == before
    assert _plain(re.sub(r"<del>.*?</del>", "", markup, flags=re.DOTALL)) == after


def test_a_difference_is_by_words_and_shortened() -> None:
    assert difference("one two", "one three") == "one <del>two</del><ins>three</ins>"
    assert difference("你好世界", "你好中国") == "你好<del>世界</del><ins>中国</ins>"
    assert difference("用５G上网", "用5G上网") == "用<del>５G</del><ins>5G</ins>上网"
    long = " ".join(f"w{number}" for number in range(300))
    markup = difference(f"x {long}", f"y {long}")
    assert markup.startswith("<del>x</del><ins>y</ins>")
    assert '<span class="gap">' in markup
    assert len(markup) < 400


def test_markup_in_texts_is_text() -> None:
    assert "<script" not in difference("<script>", "<script src=x>")
    assert visible("a\u200bb") == 'a<i class="c">U+200B</i>b'


@given(st.integers(0, 10**9))
def test_every_length_is_in_the_edges_of_its_bin(length: int) -> None:
    low, high = bin_edges(length_bin(length))
    assert low <= length <= high


def test_shares() -> None:
    assert [share(0, 5), share(5, 5), share(1, 3), share(1, 10**6), share(1, 0)] == [
        "0 %",
        "100 %",
        "33.3 %",
        "< 0.01 %",
        "-",
    ]
