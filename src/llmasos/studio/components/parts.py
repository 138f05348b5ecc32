"""Small parts: headings, pills, facts, empty places, progress. Texts are set as texts, never read as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

from nicegui import ui

from llmasos.i18n import t

Tone = Literal["plain", "alive", "good", "bad", "warn"]


def pill(content: str, tone: Tone = "plain") -> ui.label:
    """A word in a coloured frame."""
    return ui.label(content).classes(f"pill {tone}")


@contextmanager
def heading(title: str, explanation: str = "") -> Iterator[None]:
    """The title of a page; what is opened inside stands beside it."""
    with ui.element("div").classes("line apart"):
        with ui.element("div"):
            title_line(1, title)
            if explanation:
                ui.label(explanation).classes("soft")
        with ui.element("div").classes("line").style("width: auto"):
            yield


def title_line(level: int, content: str) -> ui.label:
    """A heading, as screen readers know it too."""
    return ui.label(content).classes(f"h{level}").props(f"role=heading aria-level={level}")


@contextmanager
def card(*, classes: str = "") -> Iterator[ui.element]:
    """A framed area."""
    with ui.element("section").classes(f"card {classes}") as element:
        yield element


def sheet() -> ui.element:
    """The framed area of a dialog. Quasar lets the mouse through to a ``div`` only."""
    return ui.element("div").classes("card")


@contextmanager
def card_link(target: str) -> Iterator[ui.link]:
    """A framed area that leads somewhere."""
    with ui.link(target=target).classes("card link") as link:
        yield link


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Names and values, one pair a line; values that are empty are left out."""
    with ui.element("dl").classes("facts"):
        for name, value in pairs:
            if value in (None, ""):
                continue
            with ui.element("dt"):
                ui.label(name)
            with ui.element("dd"):
                ui.label(str(value)).classes("number")


@contextmanager
def empty(icon: str, message: str, explanation: str = "") -> Iterator[None]:
    """What stands where nothing is yet, and how to change that."""
    with ui.element("div").classes("empty"):
        ui.icon(icon, size="36px").props("aria-hidden=true")
        ui.label(message)
        if explanation:
            ui.label(explanation).classes("small")
        yield


def code(content: str, language: str) -> None:
    """A program or a file, with a button that copies it."""
    shown = ui.code(content, language=language).classes("w-full")
    shown.copy_button.props(f'aria-label="{t("Copy")}"')


class Bar:
    """How much of something is done."""

    def __init__(self, label: str) -> None:
        with ui.element("div").classes("track").props(f'role=progressbar aria-label="{label}"') as self._track:
            self._inner = ui.element("div").style("width: 0%")

    def show(self, share: float | None) -> None:
        """Between 0 and 1; ``None``: it is not known."""
        percent = round(100 * (share or 0.0), 1)
        self._inner.style(f"width: {percent}%")
        self._track.props(f"aria-valuemin=0 aria-valuemax=100 aria-valuenow={percent}")
