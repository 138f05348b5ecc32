"""METEOR through nltk."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

from llmasos.data.linguistics.words import segment_words
from llmasos.errors import MissingDependency, Unsupported
from llmasos.evaluation.metrics.base import Context, Metric
from llmasos.evaluation.metrics.score import Score, mean
from llmasos.evaluation.metrics.translation import pairs
from llmasos.evaluation.records import Record
from llmasos.i18n import t


class Meteor(Metric):
    """Alignment of words that are equal, have one stem, or are synonyms in WordNet (Lavie and Agarwal 2007); English.

    Computed by nltk with its own weights (alpha 0.9, beta 3, gamma 0.5) on the words of the Treebank rules.
    """

    name: ClassVar[str] = "meteor"

    def compute(self, records: Sequence[Record], context: Context) -> dict[str, Score]:
        if context.language is not None and not context.language.startswith("en"):
            raise Unsupported(
                t("METEOR knows English only, for its stems and synonyms are English; the task is in {language}",
                  language=context.language),
                hint=t("Choose chrf or rouge."),
            )  # fmt: skip
        from nltk.translate.meteor_score import meteor_score

        wordnet = _wordnet(_wordnet_place())
        values = [
            meteor_score([_words(text) for text in references], _words(output), wordnet=wordnet)
            for output, references in pairs(records, self.name)
        ]
        return {self.name: mean(values, signature="nltk|alpha:0.9|beta:3|gamma:0.5|tokens:treebank")}


def _words(text: str) -> list[str]:
    return segment_words(text, "en", "pysbd")


def _wordnet_place() -> Any:
    import nltk

    for name in ("corpora/wordnet", "corpora/wordnet.zip/wordnet/"):
        try:
            return nltk.data.find(name)
        except LookupError:
            continue
    raise MissingDependency(
        t("METEOR needs WordNet, which is not on this machine"),
        hint=t("`python -m nltk.downloader wordnet` fetches it; or set NLTK_DATA to the folder that has "
               "corpora/wordnet."),
    )  # fmt: skip


@cache
def _wordnet(place: Any) -> Any:
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    with warnings.catch_warnings():
        # It says that other languages are missing, which are not used.
        warnings.simplefilter("ignore")
        return WordNetCorpusReader(place, None)
