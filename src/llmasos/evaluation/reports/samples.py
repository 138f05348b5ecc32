"""The browser of samples of a report: filtered by status without a script, each with all that is known of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence

from llmasos.data.report.html import number, text, visible
from llmasos.evaluation.records import Record, Status
from llmasos.i18n import t

_MOST_CHARACTERS = 20_000
_LINE = 160


def status_name(status: Status) -> str:
    """The status in words."""
    return {
        Status.CORRECT: t("correct"),
        Status.WRONG: t("wrong"),
        Status.UNPARSED: t("unparsed"),
        Status.TRUNCATED: t("truncated"),
        Status.ERROR: t("error"),
        Status.SCORED: t("scored"),
    }[status]


def browser(records: Sequence[Record], *, name: str, most: int) -> str:
    """The samples.

    Args:
        name: of the group of buttons; another for each browser of a page.
        most: samples shown of each status.
    """
    counts = Counter(record.status for record in records)
    shown: Counter[Status] = Counter()
    chosen = []
    for record in records:
        if shown[record.status] < most:
            shown[record.status] += 1
            chosen.append(record)
    buttons = [_button(name, "all", t("all"), len(records), checked=True)]
    buttons += [
        _button(name, status.value, status_name(status), counts[status], checked=False)
        for status in Status
        if counts[status]
    ]
    note = ""
    if len(chosen) < len(records):
        left = t(
            "{shown} of {total} samples are shown, at most {most} of each status; all are in samples.parquet.",
            shown=number(len(chosen)), total=number(len(records)), most=most,
        )  # fmt: skip
        note = f'<p class="soft">{text(left)}</p>'
    return (
        f'{note}<div class="browser">{"".join(buttons)}'
        f'<div class="samples">{"".join(_sample(record) for record in chosen)}</div></div>'
    )


def _button(name: str, kind: str, label: str, count: int, *, checked: bool) -> str:
    return (
        f'<input type="radio" name="{name}" id="{name}-{kind}" class="f-{kind}"{" checked" if checked else ""}>'
        f'<label for="{name}-{kind}">{text(label)} {number(count)}</label>'
    )


def _sample(record: Record) -> str:
    line = _line(record.parsed or record.output or record.error or record.prompt)
    known = _line(record.references[0]) if record.references and record.status is not Status.CORRECT else ""
    reference = f' <span class="soft">{text(t("Expected"))}: {text(known)}</span>' if known else ""
    fields = "".join(
        f'<div class="field"><b>{text(title)}</b><pre>{content}</pre></div>' for title, content in _fields(record)
    )
    return (
        f'<details class="{record.status.value}"><summary><span class="number">#{record.index}</span>'
        f'<span class="badge {record.status.value}">{text(status_name(record.status))}</span>'
        f'<span class="line">{text(line)}{reference}</span></summary><div class="fields">{fields}</div></details>'
    )


def _line(content: str) -> str:
    return " ".join(content[: 2 * _LINE].split())[:_LINE]


def _fields(record: Record) -> Iterator[tuple[str, str]]:
    """Titles, and contents as HTML."""
    if record.error is not None:
        yield t("Error"), _text(record.error)
    yield t("Prompt as sent ({count} tokens)", count=record.prompt_tokens), _text(record.prompt)
    if record.output or not record.loglikelihood:
        yield t("Output"), _text(record.output)
    for place, output in enumerate(record.outputs[1:], start=2):
        yield t("Output {number}", number=place), _text(output)
    if record.parsed is not None and record.parsed != record.output:
        yield t("Read in it"), _text(record.parsed)
    for reference in record.references:
        yield t("Expected"), _text(reference)
    if record.choice_logprobs is not None:
        lines = [
            f"{place}  {value:.3f}" + (f"  ← {t('right')}" if place == record.target else "")
            for place, value in enumerate(record.choice_logprobs)
        ]
        yield t("Log-probabilities of the choices"), _text("\n".join(lines))
    if record.loglikelihood is not None:
        counts = t(
            "{likelihood} over {tokens} tokens, {words} words, {bytes} bytes", likelihood=f"{record.loglikelihood:.3f}",
            tokens=record.token_count, words=record.word_count, bytes=record.byte_count,
        )  # fmt: skip
        yield t("Log-likelihood"), _text(counts)
    if record.passed is not None:
        yield t("Programs that passed"), _text(f"{sum(record.passed)} / {len(record.passed)}")
    if record.details:
        yield t("Details"), _text(json.dumps(dict(record.details), ensure_ascii=False, indent=1, default=str))


def _text(content: str) -> str:
    if len(content) <= _MOST_CHARACTERS:
        return visible(content)
    left = t("… {count} more characters", count=number(len(content) - _MOST_CHARACTERS))
    return f'{visible(content[:_MOST_CHARACTERS])}<i class="c">{text(left)}</i>'
