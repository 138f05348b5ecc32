from __future__ import annotations

import pytest

from llmasos.cli import help as help_pages


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("中文", 4), ("a中b", 4), ("", 0), ("，", 2)])
def test_display_width(text: str, width: int) -> None:
    assert help_pages.display_width(text) == width


def test_wrap_breaks_at_spaces_and_between_chinese_characters() -> None:
    assert help_pages.wrap("one two three", 7) == ["one two", "three"]
    assert help_pages.wrap("一二三四五", 4) == ["一二", "三四", "五"]
    assert help_pages.wrap("一二，三", 4) == ["一", "二，", "三"], "a comma does not begin a line"
    assert help_pages.wrap("用 pip 安装", 6) == ["用 pip", "安装"]
    assert help_pages.wrap("", 10) == [""]
    assert help_pages.wrap("unbreakable", 3) == ["unbreakable"]


def test_no_line_is_wider_than_asked() -> None:
    text = "模型的名称、来源或文件夹；省略时 llmasos 使用默认模型 smollm2:135m-instruct。" * 3
    for width in range(26, 60):
        lines = help_pages.wrap(text, width)
        assert all(help_pages.display_width(line) <= width for line in lines)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_definitions_align_and_move_long_names_to_their_own_line() -> None:
    lines = help_pages.definitions([("a", "first"), ("名", "second"), ("x" * 40, "third")])
    assert lines[0].index("first") == 35 == lines[3].index("third")
    assert lines[2] == "  " + "x" * 40


def test_paragraphs_leave_out_what_is_for_programmers() -> None:
    assert help_pages.paragraphs("One\ntwo.\n\nThree.\f\nRaises: x") == ["One two.", "Three."]
    assert help_pages.paragraphs(None) == []


def test_no_colours_without_a_terminal() -> None:
    assert help_pages.heading("x") == "x"
