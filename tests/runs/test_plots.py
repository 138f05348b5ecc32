"""Curves drawn: Braille, a page without a network, a picture."""

from __future__ import annotations

import json
import math
import re
import struct
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.cells import cell_len

from llmasos import i18n
from llmasos.errors import MissingDependency
from llmasos.runs.plots.figure import Panel, panels
from llmasos.runs.plots.html import page
from llmasos.runs.plots.png import write_png
from llmasos.runs.plots.terminal import draw
from llmasos.runs.series import Point


def falling(count: int = 100, slope: float = 1.0) -> list[Point]:
    return [Point(step, 3.0 - slope * step / count, step * 100.0) for step in range(1, count + 1)]


def some() -> list[Panel]:
    return panels(
        [
            ("plain </script> & <b>", {"loss": falling(), "eval_loss": falling(5), "learning_rate": falling()}),
            ("全参数", {"loss": falling(slope=2.0)}),
        ]
    )


@pytest.mark.parametrize("width", [40, 80, 160])
def test_the_terminal_gets_lines_that_fit(width: int) -> None:
    rows = draw(some()[1], width=width, height=10)
    lines = ["".join(text for text, _ in row) for row in rows]
    assert len(lines) == 1 + 10 + 2 and max(map(cell_len, lines)) <= width
    body = lines[1:11]
    assert all("┤" in line or "│" in line for line in body)
    first, last = body[0], body[-1]
    dots = [re.search("[\u2801-\u28ff]", line) for line in (first, last)]
    assert dots[0] is not None and dots[1] is not None and dots[0].start() < dots[1].start(), "a falling line"
    assert lines[11].endswith("step")


def test_every_dot_of_a_straight_line_is_there() -> None:
    [panel] = panels([("a", {"x": [Point(0, 0.0), Point(1, 1.0)]})])
    rows = draw(panel, width=40, height=10)
    columns = ["".join(text for text, _ in row) for row in rows[1:11]]
    drawn = {index for line in columns for index, letter in enumerate(line) if "\u2801" <= letter <= "\u28ff"}
    assert drawn == set(range(min(drawn), max(drawn) + 1)), "no gaps"


def test_one_point_can_be_drawn() -> None:
    [panel] = panels([("a", {"loss": [Point(5, 2.0)]})])
    assert any("\u2801" <= letter <= "\u28ff" for row in draw(panel, width=50) for text, _ in row for letter in text)


class Requests(HTMLParser):
    """Notes everything in a page that would make a browser fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.stack: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "line", "path", "circle", "br"):
            self.stack.append(tag)
        self.found += [f"{tag} {name}" for name, _ in attributes if name in ("src", "href", "srcset", "action", "data")]

    def handle_endtag(self, tag: str) -> None:
        if tag in ("line", "path", "circle"):
            return
        assert self.stack.pop() == tag

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [f"{tag} {name}" for name, _ in attributes if name in ("src", "href")]


def test_the_page_asks_nobody_for_anything() -> None:
    table = [["Run", "Kind"], ["plain </script> & <b>", "sft"], ["全参数", "sft"]]
    text = page("Curves & more", some(), table)
    parser = Requests()
    parser.feed(text)
    assert parser.found == [] and parser.stack == []
    assert "url(" not in text and "@import" not in text and "http" not in text
    assert text.count("<figure>") == 2 and "Curves &amp; more" in text and "plain &lt;/script&gt;" in text
    data = re.search(r'<script type="application/json" id="curves">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    first = json.loads(data[1])[0]["lines"][0]
    assert first["label"].startswith("plain </script>") and len(first["points"]) == 100
    assert text.count("</script>") == 2, "a name cannot end the script"


def test_values_that_are_no_numbers_are_counted_on_the_page() -> None:
    points = [*falling(9), Point(10, math.nan)]
    text = page("x", panels([("a", {"loss": points})]), [["Run"], ["a"]])
    assert "1 values are not numbers" in text and "nan" not in text.replace("finance", "").lower().split("<style>")[0]


def test_the_page_speaks_chinese() -> None:
    i18n.set_language("zh")
    text = page("x", panels([("a", {"loss": falling(), "eval_loss": falling()})]), [["Run"], ["a"]])
    assert '<html lang="zh">' in text and "训练损失" in text and "验证损失" in text


def test_the_picture_is_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "curves.png"
    write_png(path, "Runs", some())
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    assert width > 1000 and height > 300


def test_a_picture_without_matplotlib_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.font_manager", None)
    with pytest.raises(MissingDependency, match="matplotlib") as caught:
        write_png(tmp_path / "x.png", "x", some())
    assert "--html" in str(caught.value.hint)
