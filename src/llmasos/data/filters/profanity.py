"""Profanity by word lists."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

import regex
from pydantic import Field

from llmasos.data.row import Row
from llmasos.data.step import FilterConfig, Place, Rejection
from llmasos.errors import InvalidRecipe, NotFound
from llmasos.i18n import t

_ENDINGS = "(?:s|es|ed|er|ers|ing|in'|y)?"


class FilterProfanity(FilterConfig):
    """Reject rows with coarse words."""

    step: Literal["filter_profanity"] = "filter_profanity"
    languages: tuple[Literal["en", "zh"], ...] = Field(("en", "zh"), description="Built-in lists to use.")
    files: tuple[str, ...] = Field((), description="Further lists: UTF-8 files, one word or phrase a line, # comments.")
    allow: tuple[str, ...] = Field((), description="Words that are not counted.")
    most: int = Field(0, ge=0, description="Most coarse words in a row that is kept.")
    places: tuple[Place, ...] | None = Field(None, description="Texts of a row to look at. Default: all.")

    def resolve_paths(self, folder: Path) -> FilterProfanity:
        """The same with files relative to this folder."""
        return self.model_copy(update={"files": tuple(str(folder / Path(file).expanduser()) for file in self.files)})

    def build(self) -> ProfanityFilter:
        return ProfanityFilter(self)


@cache
def built_in_words(language: str) -> tuple[str, ...]:
    """The list that comes with the package."""
    file = resources.files("llmasos.data.filters") / "word_lists" / f"profanity-{language}.txt"
    return parse_word_list(file.read_text(encoding="utf-8"))


def parse_word_list(text: str) -> tuple[str, ...]:
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def read_word_list(path: Path) -> tuple[str, ...]:
    """The words of a file.

    Raises:
        NotFound: there is no such file.
        InvalidRecipe: it is not UTF-8.
    """
    try:
        return parse_word_list(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise NotFound(
            t("there is no word list {path}", path=path),
            hint=t("Paths are relative to the folder of the recipe."),
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidRecipe(
            t("the word list {path} is not UTF-8: {error}", path=path, error=error),
            hint=t("Save it as UTF-8, one word or phrase a line."),
        ) from error


def pattern_of(words: set[str]) -> regex.Pattern[str] | None:
    """A pattern of all words: whole words where scripts have spaces, anywhere in Chinese."""
    spaced = sorted(
        (word for word in words if word.isascii() or not regex.search(r"\p{Han}", word)), key=_longest_first
    )
    chinese = sorted(words.difference(spaced), key=_longest_first)
    parts = []
    if spaced:
        parts.append(rf"(?<!\w)(?:{'|'.join(map(_spaced, spaced))}){_ENDINGS}(?!\w)")
    if chinese:
        parts.append("|".join(map(regex.escape, chinese)))
    return regex.compile("|".join(parts), regex.IGNORECASE) if parts else None


def _longest_first(word: str) -> tuple[int, str]:
    return -len(word), word


def _spaced(word: str) -> str:
    return r"\s+".join(map(regex.escape, word.split()))


class ProfanityFilter:
    """Rejects with the words that were found."""

    def __init__(self, config: FilterProfanity) -> None:
        words = {word for language in config.languages for word in built_in_words(language)}
        for file in config.files:
            words.update(read_word_list(Path(file)))
        allowed = {word.lower() for word in config.allow}
        self._config = config
        self._allowed = allowed
        self._pattern = pattern_of({word for word in words if word.lower() not in allowed})

    def __call__(self, row: Row) -> Rejection | None:
        if self._pattern is None:
            return None
        places = self._config.places
        found = [
            match.lower()
            for place, text in row.texts()
            if places is None or place in places
            for match in self._pattern.findall(text)
            if match.lower() not in self._allowed
        ]
        if len(found) <= self._config.most:
            return None
        shown = ", ".join(dict.fromkeys(found))
        return Rejection("profanity", f"coarse words {len(found)}, at most {self._config.most}: {shown[:100]}")
