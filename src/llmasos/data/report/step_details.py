"""The part of the report that shows what each step did to single rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmasos.data.report.html import difference, number, text, visible
from llmasos.data.report.names import reason_text
from llmasos.i18n import t


def rejection_tags(rejected: Mapping[str, int]) -> str:
    """The reasons of a step with their numbers."""
    return " ".join(
        f'<span class="reason" title="{text(reason)}">{text(reason_text(reason))}&nbsp;{number(count)}</span>'
        for reason, count in rejected.items()
    )


def step_details(facts: Mapping[str, Any]) -> str:
    """For every step that did something: counts, changes as differences, rejected rows with their reasons."""
    parts = [_step(step) for step in facts["steps"] if step["changed"] or step["rejected"] or step["counts"]]
    if not parts:
        return ""
    note = t("Examples are chosen by chance, the same in every run. Taken out is struck through, put in is green.")
    title = t("Examples of every step")
    return f'<section><h2>{text(title)}</h2><p class="soft">{text(note)}</p>{"".join(parts)}</section>'


def _step(step: Mapping[str, Any]) -> str:
    summary = []
    if step["changed"]:
        summary.append(t("{count} rows changed", count=number(step["changed"])))
    if step["rejected"]:
        summary.append(t("{count} rows rejected", count=number(sum(step["rejected"].values()))))
    counts = "".join(
        f'<span class="count">{text(_count_name(name))}&nbsp;{number(count)}</span>'
        for name, count in step["counts"].items()
    )
    changes = "".join(_change(example) for example in step["changes"])
    rejections = "".join(
        f"<h3>{rejection_tags({reason: step['rejected'][reason]})}</h3>"
        + "".join(_rejection(example) for example in examples)
        for reason, examples in sorted(step["rejections"].items(), key=lambda item: -step["rejected"][item[0]])
    )
    return (
        f"<details{' open' if changes or rejections else ''}><summary><code>{text(step['name'])}</code>"
        f'<span class="soft">{text(", ".join(summary))}</span></summary>{counts}{changes}{rejections}</details>'
    )


def _count_name(name: str) -> str:
    """The name of a count without underscores, unless they belong to a token that it names."""
    words, _, token = name.partition(" ")
    return " ".join(filter(None, (words.replace("_", " "), token)))


def _change(example: Mapping[str, Any]) -> str:
    body = "".join(
        f'<div class="soft">{text(pair["place"])}{_clipped(pair)}</div>'
        f'<div class="text">{difference(pair["before"], pair["after"])}</div>'
        for pair in example["texts"]
    )
    return f'<div class="example"><div class="soft">{text(example["id"])}</div>{body}</div>'


def _rejection(example: Mapping[str, Any]) -> str:
    related = ", ".join(identity for identity in example["related"] if identity not in example["detail"])
    facts = [example["id"], example["detail"], t("see {rows}", rows=related) if related else ""]
    head = " · ".join(text(fact) for fact in facts if fact)
    body = example["text"][:600]
    more = " …" if len(example["text"]) > len(body) or example["clipped"] else ""
    return f'<div class="example"><div class="soft">{head}</div><div class="text">{visible(body)}{more}</div></div>'


def _clipped(pair: Mapping[str, Any]) -> str:
    return text(" " + t("(beginning)")) if pair["clipped"] else ""
