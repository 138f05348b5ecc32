"""Repair, normalisation, control characters, white space, widths on fixed texts."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

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


def changed(removed: int) -> dict[str, int]:
    return {"texts_with_whitespace_changed": 1, "whitespace_characters_removed": removed}


@pytest.mark.parametrize(
    ("config", "text", "expected", "counts"),
    [
        (RepairUnicode(), "schÃ¶n, donâ€™t", "schön, don’t", {"texts_repaired": 1}),
        (RepairUnicode(straighten_quotes=True), "“don’t”", '"don\'t"', {"texts_repaired": 1}),
        (RepairUnicode(), "fine “quotes” &amp; Ａ", "fine “quotes” &amp; Ａ", {}),
        (NormalizeUnicode(), "cafe\u0301 Ａ", "café Ａ", {"texts_normalized": 1}),
        (NormalizeUnicode(form="NFKC"), "x² Ａ", "x2 A", {"texts_normalized": 1}),
        (NormalizeUnicode(), "plain", "plain", {}),
        (
            RemoveControlCharacters(), "a\x00b\x1b[1;31mred\x1b[0m\u200bc\td\n", "abredc\td\n",
            {"terminal_codes_removed": 2, "control_characters_removed": 1, "invisible_characters_removed": 1},
        ),
        (RemoveControlCharacters(invisible=False), "a\u200bb\ufeff", "a\u200bb\ufeff", {}),
        (RemoveControlCharacters(), "👩\u200d💻 \u202eabc", "👩\u200d💻 \u202eabc", {}),
        (RemoveControlCharacters(direction=True), "\u202eabc\u200f", "abc", {"direction_marks_removed": 2}),
        (
            CleanWhitespace(), "\n\na  b \t c \r\n\r\n\r\n\r\nd\u3000\u3000e\n",
            "a b c\n\nd e", changed(14),
        ),
        (CleanWhitespace(), "def f():\n    return  1", "def f():\n    return 1", changed(1)),
        (CleanWhitespace(spaces="all", empty_lines=0), "a\n\n   b", "a\n b", changed(3)),
        (CleanWhitespace(spaces="keep"), "a  b", "a  b", {}),
        (CleanWhitespace(trim=False), " a ", " a ", {}),
        (ConvertWidth(), "ＡＢ１２，！", "AB12，！", {"characters_converted": 4}),
        (ConvertWidth(to="half"), "Ａ１，！\u3000", "A1,! ", {"characters_converted": 5}),
        (ConvertWidth(to="full"), "A 1", "Ａ\u3000１", {"characters_converted": 3}),
        (
            ConvertWidth(to="chinese_punctuation"), "你好,世界!价格3.14,ok.", "你好，世界！价格3.14,ok.",
            {"characters_converted": 2},
        ),
        (ConvertChinese(), "漢字簡體，後面的皇后", "汉字简体，后面的皇后", {"texts_converted": 1}),
        (ConvertChinese(to="traditional"), "后面的皇后", "後面的皇后", {"texts_converted": 1}),
        (ConvertChinese(to="taiwan"), "软件和鼠标", "軟體和滑鼠", {"texts_converted": 1}),
        (ConvertChinese(source="taiwan"), "軟體和滑鼠", "软件和鼠标", {"texts_converted": 1}),
        (ConvertChinese(), "漢\ud800字", "汉\ud800字", {"texts_converted": 1}),
        (ConvertChinese(), "plain English", "plain English", {}),
    ],
)  # fmt: skip
def test_fixed_texts(config: TransformConfig, text: str, expected: str, counts: dict[str, int]) -> None:
    assert config.build()(text) == (expected, counts)


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        CleanWhitespace.model_validate({"step": "clean_whitespace", "emptylines": 2})


@pytest.mark.parametrize("kind", [CleanWhitespace, MaskPersonalData])
def test_places_that_do_not_exist_are_refused(kind: type[TransformConfig]) -> None:
    with pytest.raises(ValidationError, match="Input should be 'text', 'system'"):
        kind.model_validate({"places": ["answer"]})
    assert kind.model_validate({"places": ["assistant"]}).places == ("assistant",)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (ConvertChinese, {"to": "taiwan", "source": "taiwan"}),
        (RemoveHtml, {"mode": "snippet", "keep_tables": False}),
        (MaskPersonalData, {"kinds": ["phone"], "placeholders": {"email": "x"}}),
    ],
)
def test_options_without_effect_are_refused(kind: type[TransformConfig], values: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="Value error"):
        kind.model_validate(values)
    kind.model_validate(kind().model_dump())


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", [" ", "\n", " \n", "\x1b", "\x1b]", "\x1b[", "\r", "a ", "\u3000"])
def test_long_runs_take_linear_time(piece: str) -> None:
    for config in (CleanWhitespace(), CleanWhitespace(trim=False), RemoveControlCharacters()):
        assert len(config.build()(piece * 200_000 + "x")[0]) <= 200_000 * len(piece) + 1
