"""Simplified and traditional Chinese."""

from __future__ import annotations

from functools import cache, partial
from typing import Any, Literal

from pydantic import Field, model_validator

from llmasos.data.step import NO_COUNTS, Counts, Transform, TransformConfig

_CONFIGURATIONS = {
    ("traditional", "simplified"): "t2s",
    ("taiwan", "simplified"): "tw2sp",
    ("hong_kong", "simplified"): "hk2s",
    ("simplified", "traditional"): "s2t",
    ("simplified", "taiwan"): "s2twp",
    ("simplified", "hong_kong"): "s2hk",
}


class ConvertChinese(TransformConfig):
    """Convert between simplified and traditional Chinese, phrase by phrase, with OpenCC."""

    step: Literal["convert_chinese"] = "convert_chinese"
    to: Literal["simplified", "traditional", "taiwan", "hong_kong"] = Field(
        "simplified", description="Target; taiwan also converts terms (软件 to 軟體)."
    )
    source: Literal["traditional", "taiwan", "hong_kong"] = Field(
        "traditional", description="What simplified is made from; taiwan also converts terms back."
    )

    @model_validator(mode="after")
    def _consistent(self) -> ConvertChinese:
        if self.to != "simplified" and self.source != "traditional":
            raise ValueError(f"source is for to: simplified only; to: {self.to} is made from simplified Chinese")
        return self

    def build(self) -> Transform:
        start = self.source if self.to == "simplified" else "simplified"
        return partial(_convert, converter=_converter(_CONFIGURATIONS[start, self.to]))


@cache
def _converter(configuration: str) -> Any:
    """A converter of OpenCC; its dictionaries take a tenth of a second to load."""
    from opencc import OpenCC

    return OpenCC(configuration)


def _convert(text: str, converter: Any) -> tuple[str, Counts]:
    if text.isascii():
        return text, NO_COUNTS
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # lone surrogates cannot be passed to the library; convert what lies between them
        return _convert_pieces(text, converter)
    converted = str(converter.convert(text))
    return (text, NO_COUNTS) if converted == text else (converted, {"texts_converted": 1})


def _convert_pieces(text: str, converter: Any) -> tuple[str, Counts]:
    pieces: list[str] = []
    start = 0
    for place, char in enumerate(text):
        if "\ud800" <= char <= "\udfff":
            pieces += [str(converter.convert(text[start:place])), char]
            start = place + 1
    converted = "".join([*pieces, str(converter.convert(text[start:]))])
    return (text, NO_COUNTS) if converted == text else (converted, {"texts_converted": 1})
