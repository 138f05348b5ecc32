"""A preview for the terminal: in colours, or with brackets where there are none."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from llmasos.data.preview import Preview, PreviewSample, PreviewToken, facts, shown
from llmasos.i18n import t

if TYPE_CHECKING:
    from rich.text import Text

_STYLES = {
    # (learned, control token)
    (True, False): "green",
    (True, True): "bold reverse green",
    (False, False): "dim",
    (False, True): "dim reverse",
}


def as_rich(found: Preview) -> Text:
    """The preview in colours: learned tokens green, control tokens inverted, warnings yellow."""
    from rich.text import Text

    text = Text()
    text.append(t("learned"), style=_STYLES[True, False])
    text.append("  ")
    text.append(t("control token"), style=_STYLES[False, True])
    text.append("  ")
    text.append(t("learned control token"), style=_STYLES[True, True])
    text.append("\n")
    for sample in found.samples:
        text.append("\n" + _heading(sample) + "\n", style="bold")
        for sequence in sample.sequences:
            text.append(f"{sequence.name}: {_counts(sequence.tokens)}\n", style="cyan")
            for token in sequence.tokens:
                text.append(shown(token), style=_STYLES[token.trained, token.special])
            text.append("\n")
    text.append("\n")
    for question, answer in facts(found):
        text.append(f"{question}: ", style="dim")
        text.append(f"{answer}\n")
    for warning in found.warnings:
        text.append(f"! {warning}\n", style="yellow")
    return text


def as_text(found: Preview) -> str:
    """The preview without colours: learned text stands in ``⟦⟧``, control tokens in ``‹›``."""
    lines = [t("⟦learned⟧ ‹control token› · space ↵ line break")]
    for sample in found.samples:
        lines += ["", _heading(sample)]
        for sequence in sample.sequences:
            pieces = []
            for trained, tokens in groupby(sequence.tokens, lambda token: token.trained):
                run = "".join(f"‹{shown(token)}›" if token.special else shown(token) for token in tokens)
                pieces.append(f"⟦{run}⟧" if trained else run)
            lines += [f"{sequence.name}: {_counts(sequence.tokens)}", "".join(pieces)]
    lines.append("")
    lines += [f"{question}: {answer}" for question, answer in facts(found)]
    lines += [f"! {warning}" for warning in found.warnings]
    return "\n".join(lines)


def _heading(sample: PreviewSample) -> str:
    label = "" if sample.label is None else " · " + t("label {name}", name=sample.label)
    problem = "" if sample.problem is None else " · " + t("left out")
    return f"{sample.row}{label}{problem}"


def _counts(tokens: tuple[PreviewToken, ...]) -> str:
    return t("{count} tokens, {learned} learned", count=len(tokens), learned=sum(token.trained for token in tokens))
