"""One sample with all that is known of it. Everything in it came from a model or from data, and is shown as text."""

from __future__ import annotations

import json

from nicegui import ui

from llmasos.evaluation.records import Record, Status
from llmasos.evaluation.reports.samples import status_name
from llmasos.i18n import t
from llmasos.studio.components import parts
from llmasos.studio.context import Context
from llmasos.studio.evaluation import text_pieces
from llmasos.studio.evaluation.sections import STATUS_TONES

_LINE = 160


def line(content: str) -> str:
    """The beginning of a text on one line."""
    return " ".join(content[: 2 * _LINE].split())[:_LINE]


class SampleCard:
    """A sample in one line; what is known of it is built when it is opened."""

    def __init__(self, context: Context, record: Record) -> None:
        self._record = record
        self._built = False
        answer = line(record.parsed or record.output or record.error or record.prompt)
        with ui.expansion().classes("sample") as expansion:
            with expansion.add_slot("header"), ui.element("div").classes("sample-head"):
                ui.label(f"#{record.index}").classes("small soft number")
                parts.pill(status_name(record.status), STATUS_TONES[record.status])
                ui.label(answer or t("(empty)")).classes("sample-line")
                if record.references and record.status is not Status.CORRECT:
                    expected = t("Expected: {text}", text=line(record.references[0]))
                    ui.label(expected).classes("sample-line small soft")
            self._inside = ui.element("div").classes("talk")
        expansion.on_value_change(context.handle(lambda: self._open(expansion.value)))

    def _open(self, wide: bool) -> None:
        if wide and not self._built:
            self._built = True
            with self._inside:
                fields(self._record)


def fields(record: Record) -> None:
    """Prompt, output, answer, what is right, log-probabilities, and what else is known."""
    if record.error is not None:
        _field(t("Error"), record.error)
    _field(t("Prompt as sent ({count} tokens)", count=record.prompt_tokens), record.prompt)
    if record.output or record.loglikelihood is None:
        _field(t("Output"), record.output)
    for place, output in enumerate(record.outputs[1:], start=2):
        _field(t("Output {number}", number=place), output)
    if record.parsed is not None:
        _field(t("Read in it"), record.parsed)
    for reference in record.references:
        _field(t("Expected"), reference)
    if record.choice_logprobs is not None:
        _choices(record)
    parts.facts([
        (t("Log-likelihood"), None if record.loglikelihood is None else f"{record.loglikelihood:.3f}"),
        (t("Tokens of the text"), record.token_count), (t("Words"), record.word_count), (t("Bytes"), record.byte_count),
        (t("Programs that passed"), None if record.passed is None else f"{sum(record.passed)} / {len(record.passed)}"),
        (t("Latency, shared with its batch"), None if record.latency_seconds is None
         else f"{record.latency_seconds:.2f} s"),
        (t("Sample"), record.sample_id),
    ])  # fmt: skip
    if record.details:
        _field(t("Details"), json.dumps(dict(record.details), ensure_ascii=False, indent=1, default=str))


def _field(title: str, content: str) -> None:
    with ui.element("div"):
        parts.title_line(3, title)
        text_pieces.show(content, title)


def _choices(record: Record) -> None:
    """The log-probability of each choice, the highest first marked, and what it is for a token."""
    assert record.choice_logprobs is not None
    best = max(record.choice_logprobs)
    with ui.element("div").classes("wide"), ui.element("table").classes("plain"):
        with ui.element("caption"):
            parts.title_line(3, t("Log-probabilities of the choices"))
        with ui.element("tr"):
            for head in (t("Choice"), t("Log-probability"), t("A token"), ""):
                with ui.element("th").props("scope=col"):
                    ui.label(head)
        for place, value in enumerate(record.choice_logprobs):
            tokens = record.choice_lengths[place][0] if record.choice_lengths else 0
            with ui.element("tr"):
                _cell(str(place))
                _cell(f"{value:.3f}")
                _cell(f"{value / tokens:.3f}" if tokens else "")
                with ui.element("td"), ui.element("div").classes("line"):
                    if place == record.target:
                        parts.pill(t("right"), "good")
                    if value == best:
                        parts.pill(t("the likeliest"), "alive")


def _cell(content: str) -> None:
    with ui.element("td").classes("number"):
        ui.label(content)
