"""Metrics that ask a model: marks and preferences of a judge, similarity of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from llmasos.errors import InvalidRequest
from llmasos.evaluation.judge.model import JudgeModel, ask, open_judge
from llmasos.evaluation.judge.pairwise import Pair, judge_pairs
from llmasos.evaluation.judge.questions import language_of, read_score, single_question
from llmasos.evaluation.metrics.base import Context, Metric, text_of
from llmasos.evaluation.metrics.score import Score, mean
from llmasos.evaluation.metrics.translation import pairs
from llmasos.evaluation.records import Record
from llmasos.i18n import t


class JudgeScore(Metric):
    """The mean mark that a judge gives to answers. Marks that cannot be read are counted and left out."""

    name: ClassVar[str] = "judge"
    judge: JudgeModel = Field(description="The model that judges.")
    criteria: str | None = Field(None, description="What counts, in a sentence; default: correct, to the point, clear.")
    highest: int = Field(10, ge=2, le=100, description="The best mark; the worst is 1.")
    show_reference: bool = Field(True, description="Show the judge the first reference as a good answer.")

    def compute(self, records: Sequence[Record], context: Context) -> dict[str, Score]:
        language = language_of(context.language)
        questions = [
            single_question(
                record.prompt, record.output, self._shown(record),
                criteria=self.criteria, highest=self.highest, language=language,
            )
            for record in records
        ]  # fmt: skip
        with open_judge(self.judge, context.open_model) as backend:
            texts = ask(backend, questions, self.judge.max_tokens)
        marks = [read_score(text, self.highest) for text in texts]
        unparsed = mean([float(mark is None) for mark in marks], higher_is_better=False)
        values = np.asarray([np.nan if mark is None else mark for mark in marks], dtype=np.float64)
        signature = f"{self.judge.signature}|marks:1-{self.highest}"
        return {"judge_score": mean(values, signature=signature), "judge_unparsed": unparsed}

    def _shown(self, record: Record) -> str | None:
        return record.references[0] if self.show_reference and record.references else None


class JudgePreference(Metric):
    """How often a judge prefers the output to the first reference, asked in both orders; ties count half.

    Beside it, how far the judge can be trusted: how often its verdicts in both orders agree, Cohen's kappa between
    them, the share of contradicting verdicts for the first place, and the share of verdicts that cannot be read.
    """

    name: ClassVar[str] = "judge_preference"
    judge: JudgeModel = Field(description="The model that judges.")
    criteria: str | None = Field(None, description="What counts, in a sentence; default: correct, to the point, clear.")

    def compute(self, records: Sequence[Record], context: Context) -> dict[str, Score]:
        given = [
            Pair(record.prompt, record.output, references[0])
            for record, (_, references) in zip(records, pairs(records, self.name), strict=True)
        ]
        with open_judge(self.judge, context.open_model) as backend:
            found = judge_pairs(
                backend, given, criteria=self.criteria, language=language_of(context.language),
                max_tokens=self.judge.max_tokens,
            )  # fmt: skip
        agree = [
            np.nan if verdict.decided is None else float(verdict.forward == verdict.backward)
            for verdict in found.verdicts
        ]
        missing = [((verdict.forward is None) + (verdict.backward is None)) / 2 for verdict in found.verdicts]
        complete = len(found.complete)
        return {
            "judge_win_rate": mean(found.points(), signature=f"{self.judge.signature}|against:reference|orders:both"),
            "judge_consistency": mean(agree),
            "judge_kappa": Score(found.kappa, None, None, samples=complete),
            "judge_first_place": Score(found.favours_first_place, None, None, higher_is_better=False, samples=complete),
            "judge_unparsed": mean(missing, higher_is_better=False),
        }


class EmbeddingSimilarity(Metric):
    """Cosine of the angle between the vectors of output and reference, the nearest reference counting; -1 to 1."""

    name: ClassVar[str] = "embedding_similarity"
    model: str = Field(min_length=1, description="An embedding model by name, source or folder.")

    def compute(self, records: Sequence[Record], context: Context) -> dict[str, Score]:
        if context.open_model is None:
            raise InvalidRequest(
                t("embedding_similarity needs a model, and none can be loaded here"), hint=t("Choose another metric.")
            )
        given = pairs(records, self.name)
        texts = sorted({text for record in records for text in (text_of(record), *record.references) if text.strip()})
        with context.open_model(self.model) as model:
            found = model.embed(texts, normalize=True, truncate="end") if texts else []
        vectors = {text: np.asarray(entry.vector) for text, entry in zip(texts, found, strict=True)}
        values = [
            max((float(vectors[output] @ vectors[text]) for text in references if text in vectors), default=0.0)
            if output in vectors
            else 0.0
            for output, references in given
        ]
        return {self.name: mean(values, signature=f"model:{self.model}|truncate:end")}
