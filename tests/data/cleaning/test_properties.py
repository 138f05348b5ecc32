"""What must hold for every cleaning step and any text."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from llmasos.data.cleaning.chinese import ConvertChinese
from llmasos.data.cleaning.html import RemoveHtml
from llmasos.data.cleaning.masking import MaskPersonalData
from llmasos.data.cleaning.unicode import (
    CleanWhitespace,
    ConvertWidth,
    NormalizeUnicode,
    RemoveControlCharacters,
    RepairUnicode,
)
from llmasos.data.step import TransformConfig

PIECES = st.one_of(
    st.sampled_from(
        ["<b>", "</p>", "<br/>", "&amp;", "&lt;", "&#65;", "<script>", "</script>", "<!--", "-->", "if a < b:"]
    ),
    st.sampled_from(
        ["\x1b[31m", "\u200b", "\ufeff", "\u202e", "\u3000", "\r\n", "\n\n\n", " \t", "  ", "\ud800", "\x00"]
    ),
    st.sampled_from(
        ["Ａ", "１", "，", ",", "schÃ¶n", "â€™", "ﬁ", "e\u0301", "汉", "漢", "软件", "面", "🇨🇳", "👩\u200d💻"]
    ),
    st.sampled_from(
        ["a@b.co", "http://x.io/a?b", "4111111111111111", "11010519491231002X", "+49 30 1234567", "@", "://"]
    ),
    st.sampled_from(["192.168.1.1", "2001:db8::1", "[URL]", "010-12345678", "13812345678", "www.", "List<String>"]),
)
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=6), st.characters()), max_size=20).map("".join)

CONFIGS: list[TransformConfig] = [
    RepairUnicode(),
    RepairUnicode(straighten_quotes=True),
    NormalizeUnicode(),
    NormalizeUnicode(form="NFKC"),
    RemoveControlCharacters(),
    RemoveControlCharacters(direction=True),
    CleanWhitespace(),
    CleanWhitespace(spaces="all", empty_lines=0),
    CleanWhitespace(spaces="keep", trim=False),
    ConvertWidth(to="half"),
    ConvertWidth(to="half_letters"),
    ConvertWidth(to="full"),
    ConvertWidth(to="chinese_punctuation"),
    RemoveHtml(mode="snippet"),
    RemoveHtml(mode="auto"),
    MaskPersonalData(kinds=("url", "email", "phone", "id_card", "credit_card", "ip_address")),
    ConvertChinese(),
    ConvertChinese(to="taiwan"),
]
NOT_IDEMPOTENT = ("remove_html", "convert_chinese")
"""Resolving `&amp;lt;` twice would change its meaning; a phrase of OpenCC can make another one."""


def name(config: TransformConfig) -> str:
    return repr(config)


@pytest.mark.parametrize("config", CONFIGS, ids=name)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
@example(text="")
@example(text="\x1b\x1b[0m[31mred")
@example(text="<" * 200)
def test_any_text_is_cleaned_and_what_was_done_is_counted(config: TransformConfig, text: str) -> None:
    transform = config.build()
    cleaned, counts = transform(text)
    assert isinstance(cleaned, str)
    assert all(isinstance(count, int) and count > 0 for count in counts.values())
    assert bool(counts) == (cleaned != text) or config.model_dump()["step"] in ("mask_personal_data", "remove_html")
    assert transform(text) == (cleaned, counts)


@pytest.mark.parametrize(
    "config", [item for item in CONFIGS if item.model_dump()["step"] not in NOT_IDEMPOTENT], ids=name
)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
@example(text="\x1b\x1b[0m[31mred")
def test_cleaning_twice_is_cleaning_once(config: TransformConfig, text: str) -> None:
    transform = config.build()
    once, _ = transform(text)
    assert transform(once) == (once, {})


@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_html_without_references_is_clean_after_one_time(text: str) -> None:
    assume("&" not in text)
    transform = RemoveHtml(mode="snippet").build()
    once, _ = transform(text)
    assert transform(once)[0] == once


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_masks_replace_and_add_nothing_else(text: str) -> None:
    masked, counts = MaskPersonalData(
        kinds=("url", "email", "phone", "id_card", "credit_card", "ip_address"),
        placeholders=dict.fromkeys(("url", "email", "phone", "id_card", "credit_card", "ip_address"), "\x00"),
    ).build()(text)
    assert len(masked) <= len(text)
    assert masked.count("\x00") - text.count("\x00") <= sum(counts.values())
    for piece in masked.split("\x00"):
        assert piece in text
