"""Warnings about steps that suit classic text analysis and harm what a language model learns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from llmasos.data.step import StepConfig
from llmasos.i18n import t

_HARMFUL = ("remove_stop_words", "stem_words", "tag_parts_of_speech", "segment_words")
_GENERATED = frozenset({"text", "messages", "prompt_completion", "preference", "unpaired_preference", "parallel"})


@dataclass(frozen=True, slots=True)
class StepWarning:
    """A step that probably does harm here; ``message`` is in the language in force."""

    step: str
    message: str


def warn_about_steps(steps: Iterable[StepConfig], kinds: Iterable[str]) -> list[StepWarning]:
    """Warn of steps whose result a model would learn to write.

    Args:
        kinds: kinds of samples in the data (:data:`llmasos.data.row.SAMPLE_KINDS`). Labelled texts, which a model only
            reads, give no warning.
    """
    learned = sorted(_GENERATED & set(kinds))
    if not learned:
        return []
    found: list[StepWarning] = []
    for step in steps:
        name = str(step.model_dump()["step"])
        if name in _HARMFUL:
            found.append(StepWarning(name, _message(name, ", ".join(learned))))
    return found


def _message(step: str, kinds: str) -> str:
    if step == "remove_stop_words":
        return t(
            "remove_stop_words on {kinds}: a model that learns from these texts would write without articles, "
            "prepositions and negations. Keep it for classification and statistics.",
            kinds=kinds,
        )
    return t(
        "{step} on {kinds}: a model that learns from these texts would write such text. Keep it for classification "
        "and statistics.",
        step=step,
        kinds=kinds,
    )
