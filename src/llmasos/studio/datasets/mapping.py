"""What the columns mean: the kind of the samples, and which column plays which part in it."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

from nicegui import ui
from pydantic import ValidationError

from llmasos.data.look import Look
from llmasos.data.sources import layout as layouts
from llmasos.data.sources.layout import Layout
from llmasos.i18n import t, translate
from llmasos.studio.context import Context

_CLASSES: dict[str, Any] = {
    member.model_fields["kind"].default: member for member in typing.get_args(typing.get_args(layouts.Layout)[0])
}
_NO_COLUMN = ("names", "source_language", "target_language")
"""Parts that are given in words, not by a column."""


class Mapping:
    """The controls; built into the element that is open.

    Args:
        on_change: called when the meaning of the columns has changed.
    """

    def __init__(self, context: Context, look: Look, on_change: Callable[[], Any]) -> None:
        self._context, self._look, self._on_change = context, look, on_change
        given = look.layout
        self._values: dict[str, Any] = given.model_dump(exclude={"kind"}) if given is not None else {}
        self._select = ui.select(_kinds(), value=given.kind if given is not None else None,
                                 label=t("What the rows are"))  # fmt: skip
        self._select.props("outlined dense").style("min-width: 240px")
        self._select.on_value_change(context.handle(self._chosen))
        self._kind: str | None = self._select.value
        self._explanation = ui.label("").classes("small soft")
        self._place = ui.element("div").classes("fields")
        self._show()

    @property
    def layout(self) -> Layout | None:
        """What is chosen; ``None``: a part that is needed has no column."""
        if self._kind is None:
            return None
        try:
            found: Layout = _CLASSES[self._kind].model_validate(
                {key: value for key, value in self._values.items() if value not in (None, "")}
                | {key: None for key, value in self._values.items() if value is None and _is_optional(self._kind, key)}
            )
        except ValidationError:
            return None
        return found

    @property
    def changed(self) -> bool:
        """Whether it is something else than what is recognised without being told."""
        known = self._look.recognised
        return known is None or self.layout != known.layout

    def choose(self, kind: str) -> None:
        """Take a kind without telling, as if it had been recognised."""
        self._take(kind)
        self._select.value = kind

    def _chosen(self) -> Any:
        if self._select.value == self._kind:
            return None
        self._take(self._select.value)
        return self._on_change()

    def _take(self, kind: str) -> None:
        self._kind = kind
        recognised = self._look.recognised
        if recognised is not None and recognised.layout.kind == kind:
            self._values = recognised.layout.model_dump(exclude={"kind"})
        else:
            self._values = self._guessed(kind)
        self._show()

    def _guessed(self, kind: str) -> dict[str, Any]:
        """A column for each part that needs one: that of its name, else the next that is free."""
        columns = list(self._look.columns)
        fields = [name for name in _roles(kind) if name not in _NO_COLUMN and not _is_optional(kind, name)]
        values = {name: default for name in fields if (default := _default(kind, name)) in columns}
        free = [column for column in columns if column not in values.values()]
        for name in fields:
            if name not in values and free:
                values[name] = free.pop(0)
        return values | {name: None for name in _roles(kind) if name not in values}

    def _show(self) -> None:
        self._place.clear()
        self._explanation.text = translate(str(_CLASSES[self._kind].__doc__)) if self._kind else ""
        if self._kind is None:
            return
        with self._place:
            for name in _roles(self._kind):
                with ui.element("div"):
                    self._control(name)
                    description = _CLASSES[self._kind].model_fields[name].description
                    ui.label(translate(str(description))).classes("small soft")

    def _control(self, name: str) -> None:
        assert self._kind is not None
        value = self._values.get(name)
        label = _role_names().get(name, name)
        if name in _NO_COLUMN:
            text = ", ".join(value) if isinstance(value, list | tuple) else value or ""
            field: Any = ui.input(label=label, value=text).props("outlined dense debounce=400")
            field.on_value_change(self._context.handle(lambda: self._set(name, _words(name, field.value))))
            return
        options = list(dict.fromkeys([*self._look.columns, *([value] if value else [])]))
        field = ui.select(
            options, value=value, label=label, with_input=True, new_value_mode="add-unique",
            clearable=_is_optional(self._kind, name),
        ).props("outlined dense").classes("w-full")  # fmt: skip
        field.on_value_change(self._context.handle(lambda: self._set(name, field.value)))

    def _set(self, name: str, value: Any) -> Any:
        self._values[name] = value or None
        return self._on_change()


def _kinds() -> dict[str, str]:
    return {
        "label": t("Texts with classes"),
        "prompt_completion": t("Prompts and answers"),
        "messages": t("Conversations"),
        "text": t("Documents"),
        "parallel": t("Texts and what they become (translations, summaries)"),
        "preference": t("Pairs of answers, one preferred"),
        "unpaired_preference": t("Answers judged good or bad"),
    }


def _role_names() -> dict[str, str]:
    return {
        "text": t("Text"), "pair": t("Second text"), "label": t("Class"), "names": t("Names of the classes"),
        "prompt": t("Prompt"), "completion": t("Answer"), "system": t("System message"), "context": t("Context"),
        "messages": t("Messages"), "tools": t("Tools"), "chosen": t("Better answer"), "rejected": t("Worse answer"),
        "desirable": t("Verdict"), "source": t("Source text"), "target": t("Target text"),
        "source_language": t("Language of the source"), "target_language": t("Language of the target"),
    }  # fmt: skip


def _roles(kind: str) -> list[str]:
    return [name for name in _CLASSES[kind].model_fields if name not in ("kind", "join")]


def _is_optional(kind: str, name: str) -> bool:
    return type(None) in typing.get_args(_CLASSES[kind].model_fields[name].annotation)


def _default(kind: str, name: str) -> Any:
    return _CLASSES[kind].model_fields[name].default


def _words(name: str, text: str | None) -> Any:
    if name != "names":
        return text
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())
