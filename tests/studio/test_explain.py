"""The page that explains a text: what it draws, and in a real browser with the real small model."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from llmasos.explain.explanation import ExplainedToken
from llmasos.explain.tokens import Candidate, Prediction
from llmasos.studio.explanation import markup
from llmasos.studio.explanation.picture import picture
from studio.studio_server import Watched

Open = Callable[..., Watched]
in_the_browser = [pytest.mark.integration, pytest.mark.timeout(600)]
HOSTILE = "<img src=x onerror='window.bad=1'>\"&"


def opacities(address: str) -> np.ndarray:
    """The indexes into the palette, read as a decoder does."""
    data = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    place, chunks = 8, {}
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert struct.unpack(">I", data[place + 8 + length : place + 12 + length])[0] == zlib.crc32(kind + body)
        chunks[kind], place = body, place + 12 + length
    size = struct.unpack(">I", chunks[b"IHDR"][:4])[0]
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(size, size + 1)
    assert not rows[:, 0].any() and len(chunks[b"PLTE"]) == 768 and chunks[b"tRNS"] == bytes(range(256))
    return rows[:, 1:]


def test_a_map_is_a_picture() -> None:
    weights = np.array([[1.0, 0.0], [0.25, 0.5]], np.float32)
    assert opacities(picture(weights)).tolist() == [[255, 0], [128, 180]]
    assert opacities(picture(np.zeros((1, 1), np.float32))).tolist() == [[0]]


def test_a_large_map_shrinks_and_loses_no_peak() -> None:
    weights = np.zeros((5, 5), np.float32)
    weights[4, 3] = 1.0
    found = opacities(picture(weights, most_pixels=3))
    assert found.shape == (3, 3) and found[2, 1] == 255 and found.sum() == 255


def token(text: str, expected: Prediction | None, position: int = 0, context: bool = False) -> ExplainedToken:
    return ExplainedToken(position, 7, text, context, expected)


def expected(text: str, probability: float, rank: int, entropy: float = 1.0) -> Prediction:
    return Prediction(entropy, (Candidate(7, text, float(np.log(probability))),), float(np.log(probability)), rank)


def test_what_is_drawn_is_escaped() -> None:
    prediction = expected(HOSTILE, 0.5, 1)
    tokens = [token(HOSTILE, None), token(HOSTILE, prediction, 1)]
    for html in (
        markup.strip(tokens, [0.0, 0.3], 0), markup.candidates(prediction, 7), markup.table(tokens),
        markup.attended(tokens, [(0, 0.5)]), markup.lens([(HOSTILE, prediction)], 7),
    ):  # fmt: skip
        assert "<img" not in html and "&lt;img" in html and "onerror='" not in html


def test_one_token_is_reached_with_the_keyboard() -> None:
    html = markup.strip([token("a", None), token("b", None, 1, context=True)], [0.0, 0.1], 1)
    assert re.findall(r'tabindex="(-?\d)" aria-selected="(\w+)"', html) == [("-1", "false"), ("0", "true")]
    assert html.count('class="token pick before"') == 1


def test_signs_that_cannot_be_seen_are_shown() -> None:
    assert markup.visible(" a\n\t\u00a0\u200b") == "␣a↵⇥\\xa0\\u200b" and markup.visible("") == "∅"
    assert "↵\n" in markup.strip([token("\n", None)], [0.0], 0)


def test_the_less_expected_the_darker() -> None:
    likely, unlikely = expected("a", 0.9, 1, 0.5), expected("a", 1e-7, 4000, 14.0)
    for measure in ("probability", "rank", "entropy"):
        assert 0 <= markup.shade(likely, measure) < markup.shade(unlikely, measure) == 0.6
        assert markup.shade(None, measure) == 0.0
    assert markup.exact(1e-7) == "1.0e-07" and markup.percent(1e-7) == "<0.1%" and markup.percent(0.0) == "0.0%"


def explained(page: Any, text: str) -> Any:
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_role("button", name="Explain", exact=True).click()
    page.locator("table.lens").wait_for()
    return page.get_by_role("listbox", name="Tokens of the text")


class TestPage:
    pytestmark = in_the_browser

    def test_a_text_is_explained(self, open_browser: Open) -> None:
        page = open_browser().open("/explain")
        tokens = explained(page, "The capital of France is Paris.")
        assert tokens.get_by_role("option").count() == 7
        tokens.get_by_role("option", name=re.compile("^␣Paris: probability")).click()
        page.get_by_text("“␣Paris” attended to").wait_for()
        page.get_by_text("After “␣Paris”").wait_for()
        assert page.locator("tr.there").inner_text().startswith("␣Paris")
        page.keyboard.press("ArrowLeft")
        page.get_by_text("After “␣is”").wait_for()
        assert page.evaluate("document.activeElement.dataset.position") == "4"
        # The last layer says what the token's own probability was.
        assert page.locator("table.lens tr").last.locator(".saying").first.inner_text().startswith("␣Paris")
        page.get_by_text("As a table").click()
        assert page.locator("table.plain.number").first.locator("tbody tr").count() == 7

    def test_attention_is_looked_at_by_layer_and_head(self, open_browser: Open) -> None:
        page = open_browser().open("/explain")
        explained(page, "The quick brown fox jumps over the lazy dog.")
        page.get_by_role("button", name="Attention: layer 3, mean over heads").click()
        page.get_by_role("button", name="Attention: layer 3, head 2").click()
        page.get_by_role("img", name="Attention: layer 3, head 2").wait_for()
        assert page.get_by_role("button", name="Attention: layer 3, head 2").get_attribute("aria-pressed") == "true"
        before = page.get_by_role("img", name="Attention: layer 3, head 2").get_attribute("src")
        page.get_by_role("button", name="The next layer").click()
        after = page.get_by_role("img", name="Attention: layer 4, head 2")
        after.wait_for()
        assert after.get_attribute("src") != before
        box = after.bounding_box()
        page.mouse.click(box["x"] + 5, box["y"] + 5)  # the first row
        page.get_by_text("“The” attended to").wait_for()
        page.get_by_text("100.0%").first.wait_for()

    def test_an_answer_is_explained_after_its_question(self, open_browser: Open) -> None:
        page = open_browser().open("/explain")
        page.get_by_label("It answers a question").click()
        page.get_by_label("Question", exact=True).fill("What is the capital of France?")
        tokens = explained(page, "Paris.")
        assert "What is the capital of France?" in tokens.inner_text()
        assert tokens.locator(".pick:not(.before)").all_inner_texts() == ["P", "aris", "."]

    def test_what_cannot_be_explained_is_told(self, open_browser: Open) -> None:
        page = open_browser().open("/explain")
        page.get_by_label("Text", exact=True).fill("")
        page.get_by_role("button", name="Explain", exact=True).click()
        page.get_by_text("the text is empty").wait_for()
        page.get_by_label("Text", exact=True).fill("fox " * 600)
        page.get_by_role("button", name="Explain", exact=True).click()
        page.get_by_text("at most 256 can be explained at once").wait_for()
        page.get_by_label("Text", exact=True).fill(HOSTILE)
        page.get_by_role("button", name="Explain", exact=True).click()
        page.locator("table.lens").wait_for()
        assert page.evaluate("window.bad") is None

    def test_on_a_phone_in_chinese(self, open_browser: Open) -> None:
        page = open_browser(language="zh", width=360).open("/explain")
        page.get_by_label("文本", exact=True).fill("你好，世界。")
        page.get_by_role("button", name="解释", exact=True).click()
        page.locator("table.lens").wait_for()
        page.get_by_role("button", name="注意力：第 3 层，各头平均").click()
        page.get_by_role("img", name="注意力：第 3 层，各头平均").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_it_is_accessible(self, open_browser: Open, address: str, theme: str) -> None:
        from axe_playwright_python.sync_playwright import Axe

        watched = open_browser()
        watched.page.context.add_cookies([{"name": "llmasos_theme", "value": theme, "url": address}])
        page = watched.open("/explain")
        page.add_style_tag(content="* {transition: none !important; animation: none !important}")
        explained(page, "The capital of France is Paris.")
        page.get_by_role("button", name="Attention: layer 29, mean over heads").wait_for()
        page.get_by_text("As a table").click()
        page.wait_for_function(
            "!document.querySelector('.q-btn--loading, .q-ripple, .q-loading-bar[aria-hidden=false]')"
        )
        found = Axe().run(page).response["violations"]
        grave = [(item["id"], [node["html"] for node in item["nodes"]]) for item in found
                 if item["impact"] in ("serious", "critical")]  # fmt: skip
        assert grave == []
