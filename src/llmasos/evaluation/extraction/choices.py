"""The letter of a choice in an answer, in English and Chinese."""

from __future__ import annotations

import re
import string

from llmasos.evaluation.extraction.latex import last_boxed

_WIDE = "（）：．，【】［］" + "".join(map(chr, (*range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))))
_FOLDED = str.maketrans(_WIDE, "():.,[][]" + string.ascii_uppercase + string.ascii_lowercase)

_LETTER = r"(?<![A-Za-z0-9])(?-i:[A-Z])(?![A-Za-z0-9'’])"
_JOIN = r"(?:\s*(?:,|/|&|、|\band\b|\bor\b|和|与|或|及)\s*)"
_OPEN = r"""[\s"'“‘(\[{*_`$]*(?:\\(?:text|textbf|mathrm|mathbf)\{\s*)?[("\[]?"""
_CLOSE = r"[)\]}*_`\"'”’]*"
_LETTERS = (
    rf"(?P<letters>{_LETTER}{_CLOSE}(?:{_JOIN}{_OPEN}{_LETTER}{_CLOSE})*|(?<![A-Za-z])(?-i:[A-Z]{{2,5}})(?![A-Za-z]))"
)
_SMALL = r"(?P<small>(?-i:[a-z]))(?=\s*[)\].*,;:]*\s*(?:$|\n)|[)\]])"
_OPTION = r"(?:(?:option|choice|letter|选项)\s*)?"
_CUE = (
    r"(?:(?:correct|right|best|final|my)?\s*(?:answer|choice|option)s?\s*(?:would\s+be|should\s+be|must\s+be|is|:|=)\s*:?"
    r"|\bans(?:wer)?\s*[:.=]"
    r"|\b(?:i\s+)?(?:choose|pick|select)\b"
    r"|(?:正确)?(?:答案|选项)(?:应该|应当|应)?(?:是|为|选|:)*\s*:?"
    r"|(?<![不别])(?:应该|应当|应|故|因此|所以|我)?选(?:择)?(?:的是)?\s*:?)"
)
_STATED = re.compile(rf"{_CUE}{_OPEN}{_OPTION}{_OPEN}(?:{_LETTERS}|{_SMALL})", re.IGNORECASE)
_FINAL = re.compile(
    r"(?:final\s+answer|(?:therefore|thus|hence|so)\b[^.\n]{0,40}\banswer|综上|因此|所以|故|最终答案)", re.IGNORECASE
)
_ALONE = re.compile(rf"^{_OPEN}{_OPTION}(?P<letter>[A-Za-z]){_CLOSE}[.:,;、。]?{_CLOSE}$", re.IGNORECASE)
_LEADING = re.compile(
    rf"^{_OPEN}{_OPTION}(?P<letter>[A-Z])(?:{_CLOSE}[.:;、。)\]]|{_CLOSE}\s*$|[*_)\]]|(?P<space>\s)|(?=[\u4e00-\u9fff]))"
)
_LISTED = re.compile(r"^[ \t(\[*_]*([A-Z])[.:)\]、*]", re.MULTILINE)
_STANDING = re.compile(rf"(?P<letter>{_LETTER})(?P<article>\s+(?!or\b|and\b)[a-z])?")


def choice_letter(output: str, letters: str = "ABCD") -> str | None:
    """The letter that an answer chooses, or ``None`` if there is none or it is not clear which.

    The first of these that an output has decides: a boxed letter; statements such as ``The answer is (B)``, ``Answer:
    B``, ``答案是B``, ``故选B``, of which final ones (``therefore``, ``综上``) count before others; a letter that the
    output begins with; a last line that is a letter alone; a single letter anywhere. Where what decides names several
    letters, or one that is not among ``letters``, there is no answer. ``not A`` and ``不选A`` state nothing.
    """
    text = output.translate(_FOLDED).strip()
    boxed = last_boxed(text)
    if boxed is not None and (alone := _ALONE.match(boxed.strip())):
        return _allowed({alone["letter"].upper()}, letters)
    stated = _statements(text)
    if stated:
        return _allowed(stated, letters)
    for line in (text.partition("\n")[0], text.rpartition("\n")[2]):
        if alone := _ALONE.match(line.strip()):
            return _allowed({alone["letter"].upper()}, letters)
    leading = _LEADING.match(text)
    if leading and len({match[1] for match in _LISTED.finditer(text)}) > 1:
        return None
    if leading and not (leading["space"] and leading["letter"] in "AI"):
        return _allowed({leading["letter"]}, letters)
    standing = {
        match["letter"]
        for match in _STANDING.finditer(text)
        if match["letter"] in letters and not (match["article"] and match["letter"] in "AI")
    }
    return standing.pop() if len(standing) == 1 else None


def _allowed(found: set[str], letters: str) -> str | None:
    (letter,) = found if len(found) == 1 else (None,)
    return letter if letter is not None and letter in letters else None


def _statements(text: str) -> set[str]:
    """Letters that statements name; those of final statements if there are such."""
    every: set[str] = set()
    final: set[str] = set()
    for match in _STATED.finditer(text):
        named = match["letters"] or match["small"]
        capitals = set(re.findall(r"[A-Z]", re.sub(r"\b(?:and|or)\b", "", named)) or named.upper())
        every |= capitals
        line = text[max(text.rfind("\n", 0, match.start()), text.rfind("。", 0, match.start()), 0) : match.end()]
        if _FINAL.search(line):
            final = capitals if not final else final | capitals
    return final or every
