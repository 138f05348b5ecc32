"""HTML: the main text of pages, the text of snippets."""

from __future__ import annotations

import html
import re
from functools import partial
from typing import Literal

from pydantic import Field, model_validator

from llmasos.data.cleaning.counting import counted
from llmasos.data.step import NO_COUNTS, Counts, Transform, TransformConfig

_INLINE = (
    "a abbr acronym address applet area b base basefont bdi bdo big button canvas cite code data datalist del dfn em "
    "embed font i iframe img input ins kbd label link map mark meta meter nobr noscript object optgroup option output "
    "param picture progress q rp rt ruby s samp select small source span strike strong sub summary sup svg textarea "
    "time track tt u var video audio wbr"
)
_BLOCK = (
    "article aside blockquote body br caption center col colgroup dd details dialog dir div dl dt fieldset figcaption "
    "figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html legend li main menu nav ol p pre "
    "section table tbody td template tfoot th thead title tr ul"
)

_ATTRIBUTES = r"""(?:\s(?:[^<>"']|"[^"<>]*"|'[^'<>]*')*)?/?"""
_HIDDEN = re.compile(r"<(script|style|noscript|template)\b[^<>]*>(?:(?!<\1\b).)*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_DECLARATION = re.compile(r"<!doctype\b[^<>]*>|<\?xml\b[^<>]*\?>|<!\[CDATA\[|\]\]>", re.IGNORECASE)
_BLOCK_TAG = re.compile(rf"</?(?:{_BLOCK.replace(' ', '|')}){_ATTRIBUTES}>", re.IGNORECASE)
_INLINE_TAG = re.compile(rf"</?(?:{_INLINE.replace(' ', '|')}){_ATTRIBUTES}>", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_ROUNDS = 8
"""Tags inside tags (`<<b>b>`) are taken out again so many times; real text needs one."""

_PAGE = re.compile(r"<(?:!doctype\s+html|html|body)\b", re.IGNORECASE)


class RemoveHtml(TransformConfig):
    """Turn HTML into text: the main text of pages without menus and other boilerplate, snippets without their tags."""

    step: Literal["remove_html"] = "remove_html"
    mode: Literal["auto", "page", "snippet"] = Field(
        "auto",
        description="page: extract the main text with trafilatura; snippet: strip the tags of HTML and resolve "
        "entities, leaving `a < b` and `List<String>` alone; auto: page where there is `<html>` or `<body>`, else "
        "snippet.",
    )
    keep_tables: bool = Field(True, description="Keep the text of tables of pages.")
    keep_comments: bool = Field(False, description="Keep the comments of readers below pages.")
    prefer: Literal["precision", "recall", "balance"] = Field(
        "balance", description="What to do with doubtful parts of pages: leave out, keep, or weigh."
    )

    @model_validator(mode="after")
    def _consistent(self) -> RemoveHtml:
        fields = type(self).model_fields
        options = ("keep_tables", "keep_comments", "prefer")
        unused = [name for name in options if getattr(self, name) != fields[name].default]
        if self.mode == "snippet" and unused:
            raise ValueError(f"{', '.join(unused)}: for pages only, mode is snippet")
        return self

    def build(self) -> Transform:
        return partial(_remove_html, config=self)


def _remove_html(text: str, config: RemoveHtml) -> tuple[str, Counts]:
    if "<" not in text and "&" not in text:
        return text, NO_COUNTS
    if config.mode == "page" or (config.mode == "auto" and _PAGE.search(text)):
        return extract_page(text, config)
    return strip_tags(text)


def extract_page(text: str, config: RemoveHtml) -> tuple[str, Counts]:
    """The main text of a page; of a page without any, the text of all its tags, which is counted."""
    import trafilatura

    extracted = trafilatura.extract(
        text,
        include_comments=config.keep_comments,
        include_tables=config.keep_tables,
        favor_precision=config.prefer == "precision",
        favor_recall=config.prefer == "recall",
    )
    if extracted:
        return str(extracted), {"pages_extracted": 1}
    stripped, counts = strip_tags(text)
    return stripped, {**counts, "pages_without_main_text": 1}


def _without_comments(text: str) -> tuple[str, int]:
    """Take out ``<!-- -->``. By hand, for a pattern would read to the end of the text from every opening."""
    pieces: list[str] = []
    count = last = 0
    while (start := text.find("<!--", last)) >= 0 and (end := text.find("-->", start + 4)) >= 0:
        pieces.append(text[last:start])
        last = end + 3
        count += 1
    pieces.append(text[last:])
    return "".join(pieces), count


def strip_tags(text: str) -> tuple[str, Counts]:
    """Take out tags, comments, scripts and styles, then resolve character references once.

    Only elements of HTML count as tags, so that comparisons, generics and placeholders such as `<name>` stay.
    """
    hidden = tags = 0
    for _ in range(_ROUNDS):
        text, scripts = _HIDDEN.subn("\n", text)
        text, comments = _without_comments(text)
        text, declarations = _DECLARATION.subn("", text)
        comments += declarations
        text, blocks = _BLOCK_TAG.subn("\n", text)
        text, inline = _INLINE_TAG.subn("", text)
        hidden += scripts + comments
        tags += blocks + inline
        if not scripts + comments + blocks + inline:
            break
    text, entities = _ENTITY.subn(lambda match: html.unescape(match[0]), text)
    return text, counted(
        html_tags_removed=tags, html_comments_and_scripts_removed=hidden, html_entities_resolved=entities
    )
