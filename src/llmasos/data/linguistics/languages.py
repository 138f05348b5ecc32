"""Languages by ISO 639-1 code, and what the linguistic packages call them."""

from __future__ import annotations

from collections.abc import Iterable

from llmasos.errors import Unsupported, did_you_mean
from llmasos.i18n import t

NLTK_NAMES = {
    "ar": "arabic", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish",
    "et": "estonian", "fi": "finnish", "fr": "french", "hu": "hungarian", "it": "italian", "ml": "malayalam",
    "nl": "dutch", "no": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian", "ru": "russian",
    "sl": "slovene", "sv": "swedish", "tr": "turkish",
}  # fmt: skip

_IDEOGRAPHS = (("\u3400", "\u4dbf"), ("\u4e00", "\u9fff"), ("\uf900", "\ufaff"), ("\U00020000", "\U000323af"))


def is_ideograph(char: str) -> bool:
    return any(first <= char <= last for first, last in _IDEOGRAPHS)


def is_chinese(text: str) -> bool:
    """Whether ideographs are at least a third of the letters; Japanese, which mixes in kana, counts as well."""
    if text.isascii():
        return False
    letters = [char for char in text if char.isalpha()]
    return 3 * sum(map(is_ideograph, letters)) >= len(letters) > 0


def resolve_language(language: str, text: str) -> str:
    """The language to work in: ``auto`` becomes ``zh`` for Chinese text and ``en`` for any other."""
    if language != "auto":
        return language
    return "zh" if is_chinese(text) else "en"


def require_language(language: str, allowed: Iterable[str], what: str) -> None:
    """Refuse a language that a package does not know.

    Raises:
        Unsupported: with the languages that it knows.
    """
    known = sorted(allowed)
    if language not in known:
        near = did_you_mean(language, known)
        raise Unsupported(
            t("{what} does not know the language {language!r}", what=what, language=language),
            hint=near or t("It knows {languages}.", languages=", ".join(known)),
        )
