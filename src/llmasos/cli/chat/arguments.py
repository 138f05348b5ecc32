"""What `llmasos run` was given: which word is the model, which the prompt, and what came through a pipe."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from llmasos.errors import InvalidRequest, NotFound
from llmasos.i18n import t

_SOURCES = ("hf:", "pypi:", "oci:", "file:", "./", "../", "/", "~")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")


def model_and_prompt(
    words: Sequence[str],
    *,
    model: str | None,
    prompt: str | None,
    default_model: str,
    known: Callable[[], Sequence[str]],
) -> tuple[str, str | None]:
    """The model's reference and the prompt, from the words and the options ``--model`` and ``--prompt``.

    Two words are MODEL and PROMPT. A single word is what the options leave open; if they leave both open it is a
    model when it names one (``known``), a source or a path, and a prompt when it cannot be meant as a model.

    Raises:
        InvalidRequest: there are more words than the options leave open.
        NotFound: a single word is close to the name of a model without being one.
    """
    given = (model is not None) + (prompt is not None)
    if len(words) + given > 2:
        raise InvalidRequest(
            t("a model and a prompt are expected, and there are {count} of them", count=len(words) + given),
            hint=t("Put the prompt in quotation marks, and give each of them once."),
        )
    if len(words) == 2:
        return words[0], words[1]
    if not words or given == 2:
        return model or default_model, prompt
    word = words[0]
    if model is not None:
        return model, word
    if prompt is not None or _is_model(word, known):
        return word, prompt
    return default_model, word


def _is_model(word: str, known: Callable[[], Sequence[str]]) -> bool:
    if word.startswith(_SOURCES) or (Path(word) / "config.json").is_file():
        return True
    if not word.strip() or any(char.isspace() for char in word) or not word.isascii():
        return False
    if _REPOSITORY.fullmatch(word):
        return True  # of the library or of Hugging Face; loading finds out
    names = known()
    if word in names or "@sha256:" in word or any(name.startswith(f"{word}:") for name in names):
        return True
    if word != word.lower():
        return False  # a sentence begins with a capital letter, the name of a model does not
    spellings = {name.partition(":")[0]: name for name in names} | {name: name for name in names}
    close = difflib.get_close_matches(word, list(spellings), n=3, cutoff=0.75) if len(word) > 3 else []
    near = list(dict.fromkeys(spellings[item] for item in close))
    if near or ":" in word:
        raise NotFound(
            t("there is no model {name!r}", name=word),
            hint=(t("did you mean {names}?", names=", ".join(near)) + " " if near else "")
            + t("To send it as a prompt: llmasos run --prompt {word!r}", word=word),
        )
    return False


def piped_text() -> str | None:
    """What standard input holds when it is not a terminal; ``None`` if it is one, closed or empty."""
    if sys.stdin is None or sys.stdin.isatty():
        return None
    try:
        text = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            t("standard input is not UTF-8 text: byte {position} is {value:#04x}", position=error.start,
              value=error.object[error.start]),
            hint=t("Convert it first, for example with iconv -t utf-8."),
        ) from error  # fmt: skip
    return text if text.strip() else None


def joined_prompt(prompt: str | None, piped: str | None) -> str | None:
    """The prompt, then what came through the pipe; ``None`` without either."""
    parts = [part.strip("\n") for part in (prompt, piped) if part and part.strip()]
    return "\n\n".join(parts) or None
