r"""When an answer is right: the comparisons that a task may name under ``match``.

``exact``: the same text, white space around it apart.

``normalized``: the same text after NFKC (full width becomes half width), without case, punctuation and repeated white
space. Signs and points of numbers stay: ``-5`` is not ``5``. If nothing but punctuation is there, it counts.

``numeric``: the same number, compared as exact fractions after the rules of
:mod:`llmasos.evaluation.extraction.numbers`: ``$1,200.00`` equals ``1200``, ``0.75`` equals ``3/4``, ``12%`` equals
``12``. An answer with several numbers, or none, equals only the same text.

``math``: the same expression, see :func:`llmasos.evaluation.extraction.expressions.same_expression`.

``choice``: the same letter, read as :func:`llmasos.evaluation.extraction.choices.choice_letter` reads it.
"""

from __future__ import annotations

import re
import string
import unicodedata
from typing import Literal

from llmasos.evaluation.extraction.choices import choice_letter
from llmasos.evaluation.extraction.expressions import same_expression
from llmasos.evaluation.extraction.numbers import as_fraction

Match = Literal["exact", "normalized", "numeric", "math", "choice"]


def matches(match: Match, answer: str, reference: str) -> bool:
    """Whether an answer is what the reference says. Raises nothing, whatever the texts are."""
    if answer.strip() == reference.strip():
        return True
    if match == "exact":
        return False
    if match == "normalized":
        return normalize_text(answer) == normalize_text(reference)
    if match == "numeric":
        value, right = as_fraction(answer), as_fraction(reference)
        return value is not None and value == right
    if match == "math":
        return same_expression(answer, reference)
    letters = string.ascii_uppercase
    letter = choice_letter(answer, letters)
    return letter is not None and letter == choice_letter(reference, letters)


_SIGN_OR_POINT = re.compile(r"(?<![\w])-(?=\d)|(?<=\d)[.,:/](?=\d)")


def normalize_text(text: str) -> str:
    """The text in NFKC without case, punctuation and repeated white space; all of it if it is nothing but that."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = {match.start() for match in _SIGN_OR_POINT.finditer(folded)}
    letters = (
        char if place in kept or not unicodedata.category(char).startswith("P") else " "
        for place, char in enumerate(folded)
    )
    return " ".join("".join(letters).split()) or " ".join(folded.split())
