"""Parts of speech: the perceptron tagger of NLTK for English, jieba for Chinese."""

from __future__ import annotations

from functools import cache, partial
from typing import Any, Literal

from pydantic import Field

from llmasos.data.linguistics.languages import require_language, resolve_language
from llmasos.data.linguistics.sentences import Segmenter, sentence_spans
from llmasos.data.linguistics.words import jieba_module, segment_words
from llmasos.data.step import NO_COUNTS, Counts, Transform, TransformConfig
from llmasos.errors import NotFound
from llmasos.i18n import t


def tag_parts_of_speech(text: str, language: str = "auto", segmenter: Segmenter = "auto") -> list[tuple[str, str]]:
    """(word, tag) of every word: tags of the Penn Treebank for English, of ICTCLAS for Chinese.

    Raises:
        Unsupported: another language.
        NotFound: the data of NLTK's tagger are not on this machine.
    """
    code = resolve_language(language, text)
    require_language(code, ("en", "zh"), t("The tagger"))
    if code == "zh":
        return [(word, tag) for word, tag in _chinese().cut(text) if not word.isspace()]
    tagger = _english()
    tagged: list[tuple[str, str]] = []
    for start, end in sentence_spans(text, code, segmenter):
        tagged += [(str(word), str(tag)) for word, tag in tagger.tag(segment_words(text[start:end], code, segmenter))]
    return tagged


@cache
def _english() -> Any:
    from nltk.tag.perceptron import PerceptronTagger

    try:
        return PerceptronTagger(lang="eng")
    except LookupError as error:
        raise NotFound(
            t("the data of NLTK's tagger are not on this machine"),
            hint=t("Set NLTK_DATA to the folder that has taggers/averaged_perceptron_tagger_eng."),
        ) from error


@cache
def _chinese() -> Any:
    jieba_module()
    import jieba.posseg

    return jieba.posseg


class TagPartsOfSpeech(TransformConfig):
    """Write the part of speech behind every word: `dogs/NNS bark/VBP`. For classic pipelines and statistics."""

    step: Literal["tag_parts_of_speech"] = "tag_parts_of_speech"
    language: str = Field("auto", description="en or zh; auto: Chinese by its characters, else English.")
    separator: str = Field("/", min_length=1, description="Between word and tag.")
    segmenter: Segmenter = Field("auto", description="What finds the sentences; see segment_sentences.")

    def build(self) -> Transform:
        return partial(_tag, config=self)


def _tag(text: str, config: TagPartsOfSpeech) -> tuple[str, Counts]:
    tagged = tag_parts_of_speech(text, config.language, config.segmenter)
    written = " ".join(f"{word}{config.separator}{tag}" for word, tag in tagged)
    return written, ({"words_tagged": len(tagged)} if tagged else NO_COUNTS)
