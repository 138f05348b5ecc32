"""Texts of models and prompts in pieces: tokens of a chat template and characters that nobody sees are marked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from llmasos.i18n import t

Mark = Literal["plain", "template", "hidden"]
_TEMPLATE = (
    r"<\|[^|<>\s]{1,40}\|>|<｜[^｜<>]{1,40}｜>|</?s>|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS)\]|<</?SYS>>"
    r"|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>|</?think>"
)
_HIDDEN = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
_MARKED = re.compile(f"(?P<template>{_TEMPLATE})|(?P<hidden>{_HIDDEN})")
_MOST_CHARACTERS = 20_000
_MOST_PIECES = 400


class Piece(NamedTuple):
    """A stretch of a text."""

    text: str
    mark: Mark


def pieces(content: str) -> Iterator[Piece]:
    """The text in pieces; after many marks the rest is one plain piece, with what nobody sees written out."""
    end = 0
    for number, found in enumerate(_MARKED.finditer(content)):
        if 2 * number >= _MOST_PIECES:
            break
        if found.start() > end:
            yield Piece(content[end : found.start()], "plain")
        if found["template"] is not None:
            yield Piece(found[0], "template")
        else:
            yield Piece(_code_point(found[0]), "hidden")
        end = found.end()
    if end < len(content):
        yield Piece(re.sub(_HIDDEN, lambda match: _code_point(match[0]), content[end:]), "plain")


def _code_point(character: str) -> str:
    return f"U+{ord(character):04X}"


def show(content: str, label: str) -> None:
    """A text as it is, its blanks and lines kept."""
    with _frame(label):
        for piece in pieces(content[:_MOST_CHARACTERS]):
            span = TextElement(tag="span", text=piece.text)
            if piece.mark != "plain":
                span.classes(f"piece {piece.mark}")
    if len(content) > _MOST_CHARACTERS:
        left = len(content) - _MOST_CHARACTERS
        ui.label(t("… {count} more characters", count=f"{left:,}")).classes("small soft")


def _frame(label: str) -> ui.element:
    frame = ui.element("pre").classes("log as-is")
    frame.props("tabindex=0 role=group")
    frame.props["aria-label"] = label  # may hold quotation marks
    return frame
