"""All steps that a recipe may name."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llmasos.data.cleaning import chinese, html, masking, unicode
from llmasos.data.deduplication import decontamination, exact, near
from llmasos.data.filters import expression, language, length, models, profanity, quality, repetition
from llmasos.data.linguistics import count_words, parts_of_speech, sentences, stemming, stop_words, words

Step = Annotated[
    # cleaning
    unicode.RepairUnicode
    | unicode.NormalizeUnicode
    | unicode.RemoveControlCharacters
    | unicode.CleanWhitespace
    | unicode.ConvertWidth
    | html.RemoveHtml
    | masking.MaskPersonalData
    | chinese.ConvertChinese
    # linguistics
    | sentences.SegmentSentences
    | words.SegmentWords
    | stop_words.RemoveStopWords
    | stemming.StemWords
    | parts_of_speech.TagPartsOfSpeech
    | count_words.CountWords
    # filters
    | language.IdentifyLanguage
    | language.FilterLanguage
    | length.FilterLength
    | quality.FilterGopherQuality
    | quality.FilterC4Quality
    | quality.FilterFineWebQuality
    | repetition.FilterRepetition
    | profanity.FilterProfanity
    | expression.FilterExpression
    | models.FilterPerplexity
    | models.FilterClassifier
    # the whole corpus
    | exact.ExactDuplicates
    | near.NearDuplicates
    | decontamination.Decontaminate,
    Field(discriminator="step"),
]
