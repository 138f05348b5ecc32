"""The controls of how answers are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui

from llmasos.i18n import t
from llmasos.studio.components.labelled import labelled
from llmasos.studio.talk.settings import FORMS, TalkSettings


class Controls:
    """In a fold-out. An emptied number stands for its default; those without one are left to the model.

    Args:
        changed: called when something was changed.
    """

    def __init__(self, changed: Callable[[], Any]) -> None:
        default = TalkSettings()
        with ui.expansion(t("Settings")).classes("w-full").style("width: 100%"), ui.element("div").classes("line"):
            self._system = _wide(ui.textarea(t("System prompt")))
            own = t("default")
            self._numbers: dict[str, ui.number] = {
                "temperature": ui.number(t("Temperature"), min=0, max=5, step=0.1),
                "top_p": ui.number("Top-p", min=0.01, max=1, step=0.05),
                "top_k": ui.number("Top-k", min=0, step=1, placeholder=own),
                "min_p": ui.number("Min-p", min=0, max=1, step=0.05, placeholder=own),
                "typical_p": ui.number("Typical-p", min=0.01, max=1, step=0.05, placeholder=own),
                "repetition_penalty": ui.number(t("Repetition penalty"), min=0.01, step=0.05, placeholder=own),
                "presence_penalty": ui.number(t("Presence penalty"), min=-2, max=2, step=0.1, placeholder=own),
                "frequency_penalty": ui.number(t("Frequency penalty"), min=-2, max=2, step=0.1, placeholder=own),
                "max_tokens": ui.number(t("Most tokens"), min=1, max=1_000_000, step=1),
                "seed": ui.number(t("Seed"), min=0, step=1, placeholder=t("random")),
            }
            for control in self._numbers.values():
                control.props("outlined dense stack-label").style("width: 150px")
            self._stop = _wide(ui.textarea(t("Stop texts, one a line")))
            titles = dict(zip(FORMS, (t("Text"), "JSON", t("JSON schema"), t("Regular expression")), strict=True))
            self._form = ui.select(titles, value=default.form, label=t("Form of the answer")).props("outlined dense")
            self._form.style("min-width: 180px")
            self._source = _wide(ui.textarea(t("Schema or pattern"))).bind_visibility_from(
                self._form, "value", lambda form: form in ("json_schema", "regex")
            )
            self._probabilities = ui.checkbox(t("Probabilities of tokens"))
            labelled(self._probabilities, t("Probabilities of tokens"))
        self.show(default)
        for item in (self._system, self._stop, self._source, self._form, self._probabilities, *self._numbers.values()):
            item.on_value_change(changed)

    @property
    def settings(self) -> TalkSettings:
        """What the controls say."""
        default = TalkSettings()
        chosen: dict[str, Any] = {}
        for name, control in self._numbers.items():
            if control.value is None:
                chosen[name] = getattr(default, name)
            else:
                chosen[name] = int(control.value) if name in ("top_k", "max_tokens", "seed") else float(control.value)
        return TalkSettings(
            system=self._system.value or "", **chosen, form=self._form.value, source=self._source.value or "",
            stop=tuple(line for line in (self._stop.value or "").split("\n") if line),
            probabilities=bool(self._probabilities.value),
        )  # fmt: skip

    def show(self, settings: TalkSettings) -> None:
        """Set all controls."""
        self._system.value, self._source.value = settings.system, settings.source
        self._stop.value = "\n".join(settings.stop)
        self._form.value, self._probabilities.value = settings.form, settings.probabilities
        for name, control in self._numbers.items():
            control.value = getattr(settings, name)


def _wide(control: ui.textarea) -> ui.textarea:
    return control.props("outlined dense autogrow rows=1").style("flex: 1; min-width: 240px")
