"""How different outputs are from each other."""

from __future__ import annotations

import bisect
import random
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from llmasos.errors import InvalidRequest
from llmasos.evaluation.metrics.aggregation import FloatArray, sentence_bleu
from llmasos.evaluation.metrics.base import Context, Metric
from llmasos.evaluation.metrics.rouge import ngrams
from llmasos.evaluation.metrics.score import Score, mean
from llmasos.evaluation.metrics.text import Words, overlap_tokens
from llmasos.evaluation.records import Record
from llmasos.i18n import t


def outputs_of(record: Record) -> tuple[str, ...]:
    """All that the model wrote to a prompt."""
    return record.outputs or (record.output,)


class Distinct(Metric):
    """Different n-grams divided by all n-grams of all outputs (Li et al. 2016); and the mean over single outputs.

    It falls with the amount of text, so only runs over the same samples compare. For the same reason a resample, in
    which samples repeat, would always be less diverse: the figure over all outputs has no interval, the mean has one.
    """

    name: ClassVar[str] = "distinct"
    orders: tuple[int, ...] = Field((1, 2), min_length=1, description="Lengths of n-grams.")
    chinese: Words = Field("characters", description="What Chinese is cut into: characters, or the words of jieba.")

    def compute(self, records: Sequence[Record], context: Context) -> dict[str, Score]:
        texts = [
            [overlap_tokens(text, context.language, self.chinese) for text in outputs_of(record)] for record in records
        ]
        scores = {}
        for order in self.orders:
            found = [[ngrams(tokens, order) for tokens in outputs] for outputs in texts]
            everything = sum((counts for outputs in found for counts in outputs), Counter())
            total = everything.total()
            shares = [
                np.mean([len(counts) / counts.total() for counts in outputs if counts] or [np.nan]) for outputs in found
            ]
            value = len(everything) / total if total else float("nan")
            scores[f"distinct_{order}"] = Score(value, None, None, samples=len(records))
            scores[f"distinct_{order}_mean"] = mean(np.asarray(shares))
        return scores


class SelfBleu(Metric):
    """Sentence BLEU of every output against the others (Zhu et al. 2018, Texygen): 100 says that all are alike.

    The others are those to the same prompt where there are several, else those to the other prompts.
    """

    name: ClassVar[str] = "self_bleu"
    within: Literal["auto", "prompt", "task"] = Field("auto", description="Whose outputs are compared.")
    order: int = Field(4, ge=1, le=9, description="Longest n-gram.")
    most: int = Field(1000, ge=2, description="Most samples that are taken within a task; drawn with the seed.")
    seed: int = Field(0, description="Seed of that draw.")
    chinese: Words = Field("characters", description="What Chinese is cut into: characters, or the words of jieba.")

    def compute(self, records: Sequence[Record], context: Context) -> dict[str, Score]:
        several = any(len(record.outputs) > 1 for record in records)
        by_prompt = self.within == "prompt" or (self.within == "auto" and several)
        if by_prompt and not several:
            raise InvalidRequest(
                t("self_bleu within a prompt needs several outputs to each prompt"),
                hint=t("Set generation.samples of the task to 2 or more, or within: task."),
            )
        texts = [
            [overlap_tokens(text, context.language, self.chinese) for text in outputs_of(record)] for record in records
        ]
        values = np.full(len(records), np.nan)
        signature = f"within:{'prompt' if by_prompt else 'task'}|order:{self.order}"
        if by_prompt:
            for place, outputs in enumerate(texts):
                if len(outputs) > 1:
                    values[place] = self_bleu(outputs, self.order).mean()
        else:
            if len(records) < 2:
                raise InvalidRequest(t("self_bleu needs at least two outputs"), hint=t("Take more samples."))
            taken = list(range(len(records)))
            if len(taken) > self.most:
                taken = sorted(random.Random(self.seed).sample(taken, self.most))  # noqa: S311 - no secret
                signature += f"|samples:{self.most}|seed:{self.seed}"
            values[taken] = self_bleu([texts[place][0] for place in taken], self.order)
        return {self.name: mean(values, signature=signature, higher_is_better=False)}


def self_bleu(outputs: Sequence[Sequence[str]], order: int) -> FloatArray:
    """Sentence BLEU of each output with all others as its references (outputs,); as sacrebleu with effective order.

    The references of an output are all but itself, so for every n-gram the two largest counts of any output suffice.
    """
    counts = [[ngrams(tokens, size) for tokens in outputs] for size in range(1, order + 1)]
    lengths = [len(tokens) for tokens in outputs]
    ordered = sorted(lengths)
    sums = np.zeros((len(outputs), 2 + 2 * order))
    sums[:, 0] = lengths
    sums[:, 1] = [_closest_other(ordered, length) for length in lengths]
    for size, of_outputs in enumerate(counts):
        largest = _two_largest(of_outputs)
        for place, own in enumerate(of_outputs):
            matched = 0
            for ngram, count in own.items():
                first, owner, second = largest[ngram]
                matched += min(count, second if owner == place else first)
            sums[place, 2 + size] = matched
            sums[place, 2 + order + size] = own.total()
    return sentence_bleu(sums, order)


def _two_largest(counts: Sequence[Counter[tuple[str, ...]]]) -> dict[tuple[str, ...], tuple[int, int, int]]:
    """For every n-gram its largest count, whose that is, and the largest count of all others."""
    found: dict[tuple[str, ...], tuple[int, int, int]] = {}
    for place, own in enumerate(counts):
        for ngram, count in own.items():
            first, owner, second = found.get(ngram, (0, -1, 0))
            found[ngram] = (count, place, first) if count > first else (first, owner, max(second, count))
    return found


def _closest_other(ordered: Sequence[int], length: int) -> int:
    """The length of another output that is nearest, the shorter of two as near."""
    start, stop = bisect.bisect_left(ordered, length), bisect.bisect_right(ordered, length)
    if stop - start > 1:
        return length
    near = [*ordered[max(start - 1, 0) : start], *ordered[stop : stop + 1]]
    return min(near, key=lambda other: (abs(other - length), other))
