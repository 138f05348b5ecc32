"""BLEU, chrF and TER through sacrebleu (Post 2018), with its signatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from llmasos.errors import InvalidRequest
from llmasos.evaluation.metrics.aggregation import Aggregation, FloatArray, ratio, sentence_bleu
from llmasos.evaluation.metrics.base import Context, Metric, text_of
from llmasos.evaluation.metrics.score import Score, aggregated
from llmasos.evaluation.records import Record
from llmasos.i18n import t

Tokenizer = Literal["auto", "13a", "intl", "zh", "char", "none"]

_UNSPACED = ("ja", "th", "lo", "km", "my")
_ORDER = 4


class Bleu(Metric):
    """BLEU of all outputs against all references (Papineni et al. 2002); 0 to 100."""

    name: ClassVar[str] = "bleu"
    tokenizer: Tokenizer = Field(
        "auto",
        description="As sacrebleu names them; auto: zh for Chinese, char for other languages without spaces, else 13a.",
    )
    lowercase: bool = Field(False, description="Compare in lower case.")

    def compute(self, records: Sequence[Record], context: Context) -> dict[str, Score]:
        from sacrebleu.metrics.bleu import BLEU

        tokenizer = self.tokenizer_for(context.language)
        metric = BLEU(tokenize=tokenizer, lowercase=self.lowercase)
        # Counts are the same with the effective order, without which sacrebleu warns of scores of single sentences.
        counting = BLEU(tokenize=tokenizer, lowercase=self.lowercase, effective_order=True)
        sums = []
        for output, references in pairs(records, self.name):
            found = counting.sentence_score(output, references)
            sums.append([found.sys_len, found.ref_len, *found.counts, *found.totals])
        array = np.asarray(sums, dtype=np.float64)
        score = aggregated(
            array, Aggregation("bleu", (_ORDER,)), per_sample=sentence_bleu(array, _ORDER),
            signature=_signature(metric, records),
        )  # fmt: skip
        return {self.name: score}

    def tokenizer_for(self, language: str | None) -> str:
        """The tokenizer that ``auto`` means for a language."""
        if self.tokenizer != "auto":
            return self.tokenizer
        code = (language or "").lower().partition("-")[0].partition("_")[0]
        return "zh" if code == "zh" else "char" if code in _UNSPACED else "13a"


class ChrF(Metric):
    """chrF: overlap of n-grams of characters (Popović 2015); with word_order 2, chrF++; 0 to 100."""

    name: ClassVar[str] = "chrf"
    word_order: int = Field(0, ge=0, le=4, description="Longest n-gram of words that counts as well.")
    lowercase: bool = Field(False, description="Compare in lower case.")

    def compute(self, records: Sequence[Record], context: Context) -> dict[str, Score]:
        from sacrebleu.metrics.chrf import CHRF

        metric = CHRF(word_order=self.word_order, lowercase=self.lowercase)
        given = pairs(records, self.name)
        # sacrebleu's counts of a segment are reachable through this method alone, which its own tests of significance
        # use; a test compares what is made of them with its scores.
        counts = [
            metric._extract_corpus_statistics([output], [[text] for text in references])[0]
            for output, references in given
        ]
        orders = metric.char_order + metric.word_order
        array = np.asarray(counts, dtype=np.float64)
        aggregation = Aggregation("chrf", (orders, metric.beta))
        return {
            self.name: aggregated(
                array, aggregation, per_sample=aggregation(array), signature=_signature(metric, records)
            )
        }


class Ter(Metric):
    """Translation edit rate (Snover et al. 2006): edits to a reference, to a hundred of its words. 0 is best."""

    name: ClassVar[str] = "ter"
    normalized: bool = Field(False, description="Split punctuation from words, as tercom does.")
    case_sensitive: bool = Field(False, description="Count a difference in case as one.")

    def compute(self, records: Sequence[Record], context: Context) -> dict[str, Score]:
        from sacrebleu.metrics.ter import TER

        # Chinese and Japanese must be cut into characters, or every sentence is one word.
        unspaced = (context.language or "").lower()[:2] in ("zh", "ja")
        metric = TER(normalized=self.normalized or unspaced, case_sensitive=self.case_sensitive, asian_support=unspaced)
        sums = []
        for output, references in pairs(records, self.name):
            found = metric.sentence_score(output, references)
            sums.append([found.num_edits, found.ref_length])
        array = np.asarray(sums, dtype=np.float64)
        return {
            self.name: aggregated(
                array, Aggregation("ratio", (100.0,)), per_sample=_rates(array), higher_is_better=False,
                signature=_signature(metric, records),
            )
        }  # fmt: skip


def _rates(sums: FloatArray) -> FloatArray:
    """Edit rate of every sentence (samples,); where the reference is empty, 0 or 100."""
    return np.where(sums[:, 1] > 0, ratio(np.maximum(sums, (0, 1e-300)), 100.0), 100.0 * (sums[:, 0] > 0))


def pairs(records: Sequence[Record], metric: str) -> list[tuple[str, list[str]]]:
    """Output and references of every sample.

    Raises:
        InvalidRequest: a sample has no reference.
    """
    for record in records:
        if not record.references:
            raise InvalidRequest(
                t("{metric} needs references, and sample {index} has none", metric=metric, index=record.index),
                hint=t("Give references in the task."),
            )
    return [(text_of(record), list(record.references)) for record in records]


def _signature(metric: Any, records: Sequence[Record]) -> str:
    """sacrebleu's signature for the numbers of references that there are."""
    numbers = {len(record.references) for record in records}
    metric.num_refs = numbers.pop() if len(numbers) == 1 else -1
    return str(metric.get_signature().format())
