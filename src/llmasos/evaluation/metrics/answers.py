"""Metrics of short answers: exact match and the overlap of tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from llmasos.evaluation.metrics.base import Context, Metric, text_of
from llmasos.evaluation.metrics.score import Score, mean
from llmasos.evaluation.metrics.text import answer_tokens, normalize_answer
from llmasos.evaluation.records import Record


class ExactMatch(Metric):
    """Share of samples whose answer equals a reference. This compares texts itself, whatever the task's verdict is."""

    name: ClassVar[str] = "exact_match"
    normalization: Literal["answer", "blanks", "none"] = Field(
        "answer",
        description="answer: without case, punctuation, English articles and superfluous white space; blanks: without "
        "white space around it; none: as it is.",
    )

    def compute(self, records: Sequence[Record], context: Context) -> dict[str, Score]:
        def form(text: str) -> str:
            if self.normalization == "answer":
                return normalize_answer(text, context.language)
            return text.strip() if self.normalization == "blanks" else text

        values = [
            float(record.parsed is not None and form(record.parsed) in {form(text) for text in record.references})
            for record in records
        ]
        return {self.name: mean(values, signature=f"normalization:{self.normalization}")}


class TokenF1(Metric):
    """Overlap of the tokens of answer and reference, the best reference counting (Rajpurkar et al. 2016, SQuAD).

    Tokens are the words of the normalised answer, and single characters of Chinese.
    """

    name: ClassVar[str] = "token_f1"

    def compute(self, records: Sequence[Record], context: Context) -> dict[str, Score]:
        values = []
        for record in records:
            answer = answer_tokens(text_of(record), context.language)
            values.append(
                max(
                    (overlap_f1(answer, answer_tokens(text, context.language)) for text in record.references),
                    default=0.0,
                )
            )
        return {self.name: mean(values)}


def overlap_f1(answer: Sequence[str], reference: Sequence[str]) -> float:
    """F1 of two bags of tokens; two empty ones are equal."""
    if not answer or not reference:
        return float(not answer and not reference)
    shared = sum((Counter(answer) & Counter(reference)).values())
    return 2 * shared / (len(answer) + len(reference))
