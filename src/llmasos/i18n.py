"""Messages in English and Chinese.

English text is the key: ``t("no model named {name}", name=name)``. Translations live in
``locale/<language>/*.json`` as ``{"English text": "translation"}``; a test checks that every literal
passed to :func:`t` has a Chinese entry and that both sides use the same placeholders.
"""

from __future__ import annotations

import json
import locale
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from importlib import resources

LANGUAGES = ("en", "zh")


def detect_language() -> str:
    """Return ``LLMASOS_LANG`` if it names a known language, else the locale's language, else English."""
    for value in (
        os.environ.get("LLMASOS_LANG"),
        os.environ.get("LC_ALL"),
        os.environ.get("LC_MESSAGES"),
        os.environ.get("LANG"),
        locale.getlocale()[0],
    ):
        code = (value or "").lower().replace("-", "_").split("_")[0].split(".")[0]
        if code in LANGUAGES:
            return code
        if code in ("c", "posix"):
            return "en"
    return "en"


_language: str | None = None


def set_language(language: str | None) -> None:
    """Choose the language of every later message; ``None`` goes back to detection."""
    global _language
    if language is not None and language not in LANGUAGES:
        raise ValueError(f"unknown language {language!r}; allowed: {', '.join(LANGUAGES)}")
    _language = language


_spoken: ContextVar[str | None] = ContextVar("llmasos_language", default=None)


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Messages made inside the block, and in threads and tasks that start there, are in this language: a server talks
    to several people at once.

    Raises:
        ValueError: there is no such language.
    """
    if language not in LANGUAGES:
        raise ValueError(f"unknown language {language!r}; allowed: {', '.join(LANGUAGES)}")
    token = _spoken.set(language)
    try:
        yield
    finally:
        _spoken.reset(token)


def language() -> str:
    """The language in force."""
    return _spoken.get() or _language or detect_language()


@lru_cache
def _catalogue(code: str) -> dict[str, str]:
    merged: dict[str, str] = {}
    folder = resources.files("llmasos") / "locale" / code
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".json"):
            merged.update(json.loads(entry.read_text(encoding="utf-8")))
    return merged


def t(text: str, /, **values: object) -> str:
    """Translate ``text`` into the language in force and fill its ``{placeholders}``."""
    code = language()
    template = text if code == "en" else _catalogue(code).get(text, text)
    return template.format(**values) if values else template


def translate(text: str) -> str:
    """Translate a text that is data, not a literal at the call: help of commands, descriptions of settings."""
    code = language()
    return text if code == "en" else _catalogue(code).get(text, text)
