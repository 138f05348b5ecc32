"""Pages and snippets of HTML."""

from __future__ import annotations

import pytest

from llmasos.data.cleaning.html import RemoveHtml, strip_tags

PAGE = """<!DOCTYPE html><html><head><title>Tea</title><script>var x = "<p>no</p>";</script></head><body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/about">About us</a></li></ul></nav>
<article><h1>How to make tea</h1>
<p>Boil fresh water and warm the pot before the leaves go in, because a cold pot takes too much heat away.</p>
<p>Green leaves want water that has cooled for a while, black leaves want it as hot as the kettle gives it.</p>
<p>Let the leaves rest for three to five minutes, then pour the tea through a strainer &amp; enjoy it slowly.</p>
<p>Some people add a slice of lemon, others a little milk; both change the colour of the cup and soften its taste.</p>
<table><tr><td>Green</td><td>80 degrees</td></tr></table></article>
<footer>Copyright 2026 by nobody. All rights reserved. Imprint, privacy, cookies.</footer></body></html>"""


def test_the_main_text_of_a_page_is_kept() -> None:
    text, counts = RemoveHtml().build()(PAGE)
    assert counts == {"pages_extracted": 1}
    assert "warm the pot" in text and "strainer & enjoy" in text and "80 degrees" in text
    assert "About us" not in text and "Copyright" not in text and "var x" not in text


def test_tables_may_be_left_out() -> None:
    text, _ = RemoveHtml(keep_tables=False).build()(PAGE)
    assert "80 degrees" not in text and "warm the pot" in text


def test_a_page_without_main_text_is_stripped_and_counted() -> None:
    text, counts = RemoveHtml(mode="page").build()("<html><body></body></html>")
    assert text.strip() == ""
    assert counts["pages_without_main_text"] == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a <b>bold</b> word<br />next", "a bold word\nnext"),
        ("<a href=\"x>y\" class='z'>link</a>", "<a href=\"x>y\" class='z'>link"),
        ('<a href="http://a.b/?c=d">link</a>', "link"),
        ("one<!-- hidden --><script>bad()</script>two", "one\ntwo"),
        ("&lt;b&gt; &amp;amp; caf&eacute; &#x4F60;&#22909;", "<b> &amp; café 你好"),
        ("&nosuch; AT&T a&b", "&nosuch; AT&T a&b"),
        ("if a < b and c > d: List<String> <name>", "if a < b and c > d: List<String> <name>"),
        ("#include <stdio.h>", "#include <stdio.h>"),
        ("<P CLASS=x>big</P>", "\nbig\n"),
        ("<<b>b>x", "x"),
    ],
)
def test_snippets(text: str, expected: str) -> None:
    assert strip_tags(text)[0] == expected


def test_what_is_removed_is_counted() -> None:
    _, counts = strip_tags("<p>a</p><!-- x --><i>&amp;</i>")
    assert counts == {"html_tags_removed": 4, "html_comments_and_scripts_removed": 1, "html_entities_resolved": 1}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece",
    ["<", "<b", "<script>", "<!--", "&", "<b ", '<b a="', "<p><", "</script", "<b a='x' ", "-->", "<style ", "&#"],
)
def test_broken_html_takes_linear_time(piece: str) -> None:
    """A quadratic pattern would take hours on a text of this length."""
    text = piece * 100_000
    assert len(strip_tags(text)[0]) <= len(text)
