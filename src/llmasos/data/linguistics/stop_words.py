"""Stop words: words so frequent that classic methods of text analysis leave them out."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, partial
from typing import Any, Literal

from pydantic import Field

from llmasos.data.cleaning.counting import counted
from llmasos.data.linguistics.languages import NLTK_NAMES, require_language, resolve_language
from llmasos.data.linguistics.sentences import Segmenter
from llmasos.data.linguistics.words import segment_words
from llmasos.data.step import Counts, Transform, TransformConfig
from llmasos.errors import NotFound
from llmasos.i18n import t

StopWordList = Literal["iso", "nltk"]


@cache
def stop_words(language: str, source: StopWordList = "iso") -> frozenset[str]:
    """The stop words of a language, in lower case.

    Args:
        language: ISO 639-1 code.
        source: ``iso``: the 58 lists of stopwords-iso (MIT), which come with the package; ``nltk``: the lists of NLTK,
            whose data must be on this machine.

    Raises:
        Unsupported: there is no list of this language.
        NotFound: the data of NLTK are not here.
    """
    if source == "iso":
        import stopwordsiso

        require_language(language, stopwordsiso.langs(), "stopwords-iso")
        return frozenset(word.lower() for word in stopwordsiso.stopwords(language))
    from nltk.corpus.reader import WordListCorpusReader

    folder = _nltk_lists()
    if folder is None:
        raise NotFound(
            t("the stop words of NLTK are not on this machine"),
            hint=t("Set NLTK_DATA to the folder that has corpora/stopwords, or use the list iso."),
        )
    names = NLTK_NAMES | {"zh": "chinese"}
    lists = WordListCorpusReader(folder, r"[a-z]+")
    require_language(language, [code for code, name in names.items() if name in lists.fileids()], "NLTK")
    return frozenset(map(str, lists.words(names[language])))


def _nltk_lists() -> Any:
    """Where the lists of NLTK are: a folder, or the archive that its downloader leaves; ``None`` if nowhere."""
    import nltk

    for place in ("corpora/stopwords", "corpora/stopwords.zip/stopwords/"):
        try:
            return nltk.data.find(place)
        except LookupError:
            continue
    return None


def remove_stop_words(words: Iterable[str], stops: frozenset[str]) -> list[str]:
    """The words that are not in the list, whatever their case."""
    return [word for word in words if word.lower() not in stops]


class RemoveStopWords(TransformConfig):
    """Leave out stop words. For classic pipelines and statistics: it makes text that no language model should learn."""

    step: Literal["remove_stop_words"] = "remove_stop_words"
    language: str = Field("auto", description="ISO 639-1 code; auto: Chinese by its characters, else English.")
    list: StopWordList = Field("iso", description="iso: stopwords-iso, 58 languages; nltk: NLTK's lists, if here.")
    add: tuple[str, ...] = Field((), description="Further stop words.")
    keep: tuple[str, ...] = Field((), description="Words that stay although they are in the list, such as not.")
    segmenter: Segmenter = Field("auto", description="What finds the sentences; see segment_sentences.")

    def build(self) -> Transform:
        return partial(_remove, config=self)


@cache
def _chosen(language: str, config: RemoveStopWords) -> frozenset[str]:
    added = {word.lower() for word in config.add}
    return (stop_words(language, config.list) | added) - {word.lower() for word in config.keep}


def _remove(text: str, config: RemoveStopWords) -> tuple[str, Counts]:
    language = resolve_language(config.language, text)
    words = segment_words(text, language, config.segmenter)
    left = remove_stop_words(words, _chosen(language, config))
    return " ".join(left), counted(words=len(words), stop_words_removed=len(words) - len(left))
