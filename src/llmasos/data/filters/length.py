"""Length in characters, words or tokens."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from llmasos.data.filters.measures import word_count
from llmasos.data.row import Row
from llmasos.data.step import FilterConfig, Place, Rejection

if TYPE_CHECKING:
    from llmasos.modeling.tokenizer import Tokenizer


class FilterLength(FilterConfig):
    """Keep rows whose length lies between two limits."""

    step: Literal["filter_length"] = "filter_length"
    unit: Literal["characters", "words", "tokens"] = Field(
        "characters",
        description="What is counted. words: a Chinese or Japanese character counts as two thirds of a word; tokens: "
        "of the model named in `model`.",
    )
    least: int | None = Field(None, ge=0, description="Shortest that is kept.")
    most: int | None = Field(None, ge=0, description="Longest that is kept.")
    places: tuple[Place, ...] | None = Field(
        None, description="Texts of a row whose lengths are added, such as completion. Default: all."
    )
    model: str | None = Field(None, description="Model whose tokenizer counts the tokens; only with unit tokens.")

    @model_validator(mode="after")
    def _consistent(self) -> FilterLength:
        if self.least is None and self.most is None:
            raise ValueError("give least, most or both")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(f"least ({self.least}) is larger than most ({self.most})")
        if (self.unit == "tokens") != (self.model is not None):
            raise ValueError("model is needed with unit: tokens, and only then")
        return self

    def build(self) -> LengthFilter:
        return LengthFilter(self)


class LengthFilter:
    """Rejects with the length and the limit."""

    def __init__(self, config: FilterLength) -> None:
        self._config = config

    def __call__(self, row: Row) -> Rejection | None:
        config = self._config
        length = sum(
            self._length(text) for place, text in row.texts() if config.places is None or place in config.places
        )
        if config.least is not None and length < config.least:
            return Rejection("too_short", f"{length} {config.unit}, at least {config.least}")
        if config.most is not None and length > config.most:
            return Rejection("too_long", f"{length} {config.unit}, at most {config.most}")
        return None

    def _length(self, text: str) -> int:
        if self._config.unit == "characters":
            return len(text)
        if self._config.unit == "words":
            return word_count(text)
        assert self._config.model is not None
        return len(_tokenizer(self._config.model).encode(text, add_special_tokens=False).ids)


@cache
def _tokenizer(model: str) -> Tokenizer:
    """The tokenizer of a folder, or of a model of the library, which is fetched if it is not there."""
    from llmasos.library import acquire
    from llmasos.library.store import Library
    from llmasos.modeling.folder import ModelFolder
    from llmasos.modeling.tokenizer_files import load_tokenizer

    if model.startswith((".", "/", "~")):
        return load_tokenizer(ModelFolder.open(Path(model).expanduser(), reference=model))
    library = Library()
    version = acquire.ensure(model, library=library)
    return load_tokenizer(ModelFolder.open(library.view(version, verify=False), reference=model))
