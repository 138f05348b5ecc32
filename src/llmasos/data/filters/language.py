"""Language, identified by py3langid (Lui and Baldwin, 2012), whose model comes with the package."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from pydantic import Field, field_validator

from llmasos.data.row import Row
from llmasos.data.step import NO_COUNTS, Counts, FilterConfig, Place, Rejection, RowTransformConfig


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def identify_language(text: str) -> tuple[str, float]:
    """The likeliest language as an ISO 639 code, and its probability among those known (0 to 1)."""
    language, probability = _identifier().classify(text)
    return str(language), float(probability)


def known_languages() -> list[str]:
    return sorted(_identifier().labels)


def _chosen(row: Row, places: tuple[str, ...] | None) -> str:
    return row.text() if places is None else "\n".join(text for place, text in row.texts() if place in places)


class FilterLanguage(FilterConfig):
    """Keep rows in these languages."""

    step: Literal["filter_language"] = "filter_language"
    languages: tuple[str, ...] = Field(min_length=1, description="ISO 639 codes to keep, such as en and zh.")
    confidence: float = Field(0.5, ge=0, le=1, description="Least probability of the language.")
    shortest: int = Field(
        20, ge=0, description="Texts with fewer letters pass: too short to tell. A Chinese character counts as three."
    )
    places: tuple[Place, ...] | None = Field(None, description="Texts of a row to look at. Default: all together.")

    @field_validator("languages")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [code for code in value if not (2 <= len(code) <= 3 and code.isalpha() and code.islower())]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: languages are codes of two or three small letters, such as en")
        return value

    def build(self) -> LanguageFilter:
        return LanguageFilter(self)


class LanguageFilter:
    """Rejects with the language that was found and its probability."""

    def __init__(self, config: FilterLanguage) -> None:
        from llmasos.data.linguistics.languages import require_language

        for code in config.languages:
            require_language(code, known_languages(), "py3langid")
        self._config = config

    def __call__(self, row: Row) -> Rejection | None:
        text = _chosen(row, self._config.places)
        if self._config.shortest and _letters(text, self._config.shortest) < self._config.shortest:
            return None
        language, probability = identify_language(text)
        if language not in self._config.languages:
            wanted = ", ".join(self._config.languages)
            return Rejection("wrong_language", f"{language} with probability {probability:.2f}, wanted {wanted}")
        if probability < self._config.confidence:
            return Rejection(
                "language_not_certain",
                f"{language} with probability {probability:.2f}, at least {self._config.confidence:g}",
            )
        return None


def _letters(text: str, enough: int) -> int:
    """Letters of the text, ideographs counting three; stops counting when there are enough."""
    total = 0
    for char in text:
        if char.isalpha():
            total += 3 if char >= "\u3040" else 1
            if total >= enough:
                break
    return total


class IdentifyLanguage(RowTransformConfig):
    """Write the language of each row and its probability into the metadata."""

    step: Literal["identify_language"] = "identify_language"
    places: tuple[Place, ...] | None = Field(None, description="Texts of a row to look at. Default: all together.")

    def build(self) -> LanguageIdentification:
        return LanguageIdentification(self.places)


class LanguageIdentification:
    """Adds ``language`` and ``language_probability`` to the metadata."""

    def __init__(self, places: tuple[str, ...] | None) -> None:
        self._places = places

    def transform_row(self, row: Row) -> tuple[Row, Counts]:
        text = _chosen(row, self._places)
        if not any(map(str.isalpha, text)):
            return row, {"rows_without_letters": 1}
        language, probability = identify_language(text)
        return row.with_metadata(language=language, language_probability=round(probability, 4)), NO_COUNTS
