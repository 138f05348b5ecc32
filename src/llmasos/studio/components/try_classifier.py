"""Trying a model that does not talk: a text in, and out come labels with their probabilities, or another text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from llmasos.i18n import t
from llmasos.library.metadata import Metadata
from llmasos.modeling.results import Classification
from llmasos.server.serving.job import Job
from llmasos.studio.components import parts
from llmasos.studio.context import Context

_MOST_LABELS = 20
_MOST_TOKENS = 512


def can_try(task_family: str | None) -> bool:
    """Whether :func:`try_it` has something for such a model."""
    return task_family in ("classifier", "reward", "seq2seq")


def try_it(context: Context, name: str, metadata: Metadata) -> None:
    """A card in which a model is tried; nothing for models that are tried elsewhere."""
    if not can_try(metadata.task_family):
        return
    with parts.card() as card:
        card.props("id=try")
        parts.title_line(2, t("Try it"))
        if metadata.task_family == "seq2seq":
            _Rewriter(context, name)
        else:
            _Labels(context, name)


class _Labels:
    """Labels of a text, or of a pair of texts."""

    def __init__(self, context: Context, name: str) -> None:
        self._context, self._name = context, name
        self._text = ui.textarea(t("Text")).props("outlined autogrow rows=2").classes("w-full")
        self._pair = ui.textarea(t("Second text, if it judges pairs")).props("outlined dense autogrow rows=1")
        self._pair.classes("w-full")
        self._button = ui.button(t("Classify"), icon="label", on_click=context.handle(self._classify))
        self._button.props("unelevated no-caps")
        self._place = ui.element("div").classes("talk").props("aria-live=polite")

    async def _classify(self) -> None:
        text, pair = (self._text.value or "").strip(), (self._pair.value or "").strip()
        if not text:
            self._text.run_method("focus")
            return
        self._button.props("loading")
        try:
            given: Any = (text, pair) if pair else text
            (found,) = await self._context.platform.service.classify(self._name, [given])
        finally:
            if not self._button.is_deleted:
                self._button.props(remove="loading")
        if not self._place.is_deleted:
            self._place.clear()
            with self._place:
                _show(found)


def _show(found: Classification) -> None:
    scores: Mapping[str, float] = found.scores
    shares = all(0 <= score <= 1 for score in scores.values()) and len(scores) > 1
    for label, score in list(scores.items())[:_MOST_LABELS]:
        with ui.element("div").classes("line apart"):
            ui.label(label).classes("h3" if label in found.labels else "")
            ui.label(f"{score:.1%}" if shares else f"{score:.4f}").classes("number")
        if shares:
            parts.Bar(label).show(score)
    if len(scores) > _MOST_LABELS:
        ui.label(t("and {count} more", count=f"{len(scores) - _MOST_LABELS:,}")).classes("small soft")
    note = t("{count} tokens read", count=f"{found.tokens:,}")
    if found.truncated_tokens:
        note += " · " + t("{count} cut off", count=f"{found.truncated_tokens:,}")
    ui.label(note).classes("small soft number")


class _Rewriter:
    """What an encoder-decoder model makes of a text."""

    def __init__(self, context: Context, name: str) -> None:
        self._context, self._name = context, name
        self._text = ui.textarea(t("Text")).props("outlined autogrow rows=2").classes("w-full")
        self._button = ui.button(t("Rewrite"), icon="translate", on_click=context.handle(self._write))
        self._button.props("unelevated no-caps")
        self._shown = ui.label("").classes("said assistant").props("aria-live=polite")
        self._shown.set_visibility(False)

    async def _write(self) -> None:
        text = (self._text.value or "").strip()
        if not text:
            self._text.run_method("focus")
            return
        self._button.props("loading")
        try:
            written = await self._answer(text)
        finally:
            if not self._button.is_deleted:
                self._button.props(remove="loading")
        if not self._shown.is_deleted:
            self._shown.text = written or t("(no answer)")
            self._shown.set_visibility(True)

    async def _answer(self, text: str) -> str:
        job = Job(self._name, prompt=text, options={"max_tokens": _MOST_TOKENS, "temperature": 0.0})
        generation = await self._context.platform.service.generate(job)
        written = ""
        try:
            while True:
                pieces = await generation.read()
                written += "".join(piece.text for piece in pieces)
                if pieces[-1].usage is not None:
                    return written
        finally:
            generation.close()
