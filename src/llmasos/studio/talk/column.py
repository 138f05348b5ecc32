"""A conversation with one model on the screen: what was said, and the buttons beneath it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from html import escape
from typing import Any

from nicegui import ui

from llmasos.errors import LLMasOSError
from llmasos.i18n import t
from llmasos.server.serving.job import Generation, TokenInfo
from llmasos.studio.components import parts
from llmasos.studio.components.labelled import labelled
from llmasos.studio.context import Context
from llmasos.studio.talk.saved import Side
from llmasos.studio.talk.settings import TalkSettings
from llmasos.studio.talk.tree import Conversation, Said

_REDRAW_SECONDS = 0.08
_KEEP_SECONDS = 5.0
"""Most of an answer in the making that a killed server loses."""


class Column:
    """One of the conversations beside each other.

    Args:
        side: the model, and what was said with it.
        settings: what holds now.
        changed: called when answering begins and ends.
        keep: called when there is something that must not be lost.
    """

    def __init__(
        self, context: Context, side: Side, settings: Callable[[], TalkSettings], changed: Callable[[], None],
        keep: Callable[[], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._context, self._settings, self._changed, self._keep = context, settings, changed, keep
        self.side = side
        self._generation: Generation | None = None
        self.busy = False
        self._stopped = False
        self._place = ui.element("div").classes("talk").props("role=log aria-live=polite")
        labelled(self._place, side.model)
        self._draw()

    @property
    def conversation(self) -> Conversation:
        """What was said."""
        return self.side.conversation

    def choose(self, model: str) -> None:
        """Ask another model from now on."""
        self.side.model = model
        labelled(self._place, model).update()

    async def say(self, text: str) -> None:
        """Ask at the end of the conversation and show the answer as it comes."""
        await self._answer(self.conversation.ask(text))

    def stop(self) -> None:
        """End the answer that is being written; what is there stays."""
        self._stopped = True
        if self._generation is not None:
            self._generation.close()

    async def _answer(self, question: Said) -> None:
        if self.busy:
            return
        answer = question.add("assistant")
        answer.model = self.side.model
        self.busy, self._stopped = True, False
        self._changed()
        try:
            shown = self._draw()
            assert shown is not None
            await self._keep()
            await self._stream(question, answer, shown)
        except BaseException:
            if not answer.text and not answer.thoughts:
                answer.remove()
            raise
        finally:
            self.busy = False
            await self._keep()
            self._draw()
            self._changed()

    async def _stream(self, question: Said, answer: Said, shown: ui.label) -> None:
        settings = self._settings()
        job = settings.job(self.side.model, self.conversation.messages_to(question))
        started = time.monotonic()
        count, first, drawn, ended = 0, 0.0, 0.0, ""
        kept = started
        self._generation = await self._context.platform.service.generate(job)
        try:
            while not self._stopped:
                try:
                    pieces = await self._generation.read()
                except LLMasOSError:
                    if self._stopped:  # what it says then is that somebody ended it
                        break
                    raise
                first = first or time.monotonic() - started
                for piece in pieces:
                    answer.text += piece.text
                    answer.thoughts += piece.reasoning
                    ended = piece.finish_reason or ended
                    count += len(piece.token_ids)
                    answer.tokens += piece.logprobs or []
                if time.monotonic() - drawn > _REDRAW_SECONDS:
                    shown.text, drawn = answer.text or answer.thoughts, time.monotonic()
                if time.monotonic() - kept > _KEEP_SECONDS:
                    await self._keep()
                    kept = time.monotonic()
                if pieces[-1].usage is not None:
                    break
                await asyncio.sleep(0)
        finally:
            self._generation.close()
            self._generation = None
        seconds = time.monotonic() - started
        answer.note = t(
            "{tokens} tokens · {rate} a second · first after {first} s",
            tokens=count, rate=f"{count / seconds:.1f}", first=f"{first:.2f}",
        )  # fmt: skip
        if ended == "length":
            answer.note += " · " + t("cut off at the most tokens")

    def _draw(self) -> ui.label | None:
        """Show the conversation anew; the label of its last message."""
        self._place.clear()
        last = None
        with self._place:
            path = list(self.conversation.path())
            if not path:
                ui.label(t("Say something to begin.")).classes("soft")
            for said in path:
                last = self._message(said)
        return last

    def _message(self, said: Said) -> ui.label | None:
        shown: ui.label | None = None
        if said.thoughts and not self.busy:
            with ui.expansion(t("Thoughts")).classes("soft"):
                ui.label(said.thoughts).style("white-space: pre-wrap")
        if said.role == "assistant" and said.tokens and not self.busy:
            ui.html(with_probabilities(said.tokens), sanitize=False).classes("said assistant tokens")
        else:
            shown = ui.label(said.text or ("…" if self.busy else t("(no answer)"))).classes(f"said {said.role}")
        if not self.busy:
            self._beneath(said)
        return shown

    def _beneath(self, said: Said) -> None:
        place, count = said.place
        side = "justify-content: flex-end" if said.role == "user" else ""
        with ui.element("div").classes("line beneath").style(side):
            if count > 1:
                self._small("chevron_left", t("The one before"), lambda: self._turn(said, (place - 1) % count))
                ui.label(f"{place + 1}/{count}").classes("small soft number")
                self._small("chevron_right", t("The next one"), lambda: self._turn(said, (place + 1) % count))
            if said.role == "user":
                self._small("edit", t("Edit"), lambda: self._edit(said))
            else:
                before = said.before
                assert before is not None
                self._small("refresh", t("Another answer"), lambda: self._answer(before))
                self._small("content_copy", t("Copy"), lambda: ui.clipboard.write(said.text))
            if said.note:
                ui.label(said.note).classes("small soft number")

    def _small(self, icon: str, name: str, handler: Callable[[], Any]) -> None:
        ui.button(icon=icon, on_click=self._context.handle(handler)).props(
            f'flat round dense size=sm aria-label="{name}"'
        ).tooltip(name)

    async def _turn(self, said: Said, place: int) -> None:
        said.turn_to(place)
        self._draw()
        await self._keep()

    def _edit(self, said: Said) -> None:
        """Another question in the place of this one; the first stays as a branch."""
        with labelled(ui.dialog(), t("Edit")) as dialog, parts.sheet():
            text = ui.textarea(t("Message"), value=said.text).props("outlined autogrow").style("min-width: 280px")

            async def send() -> None:
                dialog.close()
                assert said.before is not None
                await self._answer(said.before.add("user", (text.value or "").strip() or said.text))

            with ui.element("div").classes("line"):
                ui.button(t("Ask this instead"), on_click=self._context.handle(send)).props("unelevated no-caps")
                ui.button(t("Cancel"), on_click=dialog.close).props("flat no-caps")
        dialog.open()


def with_probabilities(tokens: list[TokenInfo]) -> str:
    """The tokens as HTML, each shaded by how unlikely it was, with its alternatives on hover; texts are escaped."""
    spans = []
    for token in tokens:
        probability = math.exp(token.logprob)
        others = ", ".join(f"{other.text!r} {math.exp(other.logprob):.1%}" for other in token.top)
        told = f"{token.text!r} {probability:.1%}" + (f" · {others}" if others else "")
        shade = round((1 - probability) * 0.55, 2)
        spans.append(f'<span class="token" style="--shade: {shade}" title="{escape(told)}">{escape(token.text)}</span>')
    return "".join(spans)
