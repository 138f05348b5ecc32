"""Program text in an answer: between fences, or as the continuation of code that the prompt begins."""

from __future__ import annotations

import ast
import re
import warnings
from typing import Literal

_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n`]*$", re.MULTILINE)


def code_block(output: str, take: Literal["first", "last"] = "first", unfenced: str = "completion") -> str | None:
    """The code in an answer, or ``None``.

    Args:
        take: which of several blocks counts. One that never ends (the answer was cut off) goes to the end.
        unfenced: without fences ``completion`` (see :func:`completion`), ``whole`` or ``none``.
    """
    fences = list(_FENCE.finditer(output))
    begins_as_code = output[: fences[0].start()].startswith((" ", "\t")) if fences else False
    if fences and len(fences) % 2 and begins_as_code:  # the first fence ends code that the prompt's fence began
        return _kept(completion(output[: fences[0].start()]))
    if fences:
        blocks = []
        for place in range(0, len(fences), 2):
            end = fences[place + 1].start() if place + 1 < len(fences) else len(output)
            blocks.append(output[fences[place].end() + 1 : end])
        blocks = [block for block in blocks if block.strip()]
        return _kept(blocks[0 if take == "first" else -1]) if blocks else None
    if unfenced == "none":
        return None
    return _kept(output if unfenced == "whole" else completion(output))


def _kept(code: str) -> str | None:
    return code.rstrip() + "\n" if code.strip() else None


def completion(output: str) -> str:
    """The part of an output that continues code.

    A text that begins indented, as the body of a function does, ends before the first line at the margin that is
    neither empty nor part of a text in triple quotes nor a closing bracket. One that begins at the margin with a
    definition, an import or any other statement ends before the first line from which on it is no Python.
    """
    lines = output.split("\n")
    first = next((line for line in lines if line.strip()), "")
    if not first.startswith((" ", "\t")):
        return _longest_program(lines)
    quoted: str | None = None
    for place, line in enumerate(lines):
        if quoted is None and line.strip() and not line.startswith((" ", "\t", ")", "]", "}")):
            return "\n".join(lines[:place])
        quoted = _quoted_behind(line, quoted)
    return output


_QUOTES = re.compile(r"\"\"\"|'''")


def _quoted_behind(line: str, quoted: str | None) -> str | None:
    """The triple quotes that are open behind a line."""
    for match in _QUOTES.finditer(line):
        if quoted is None:
            quoted = match[0]
        elif quoted == match[0]:
            quoted = None
    return quoted


def _longest_program(lines: list[str]) -> str:
    """The first lines, as many as are Python; all of them if not even the first is."""
    count = len(lines)
    while count:
        code = "\n".join(lines[:count])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ast.parse(code)
        except SyntaxError as error:
            count = max(min(count - 1, (error.lineno or count) - 1), 0)
        except (ValueError, RecursionError, MemoryError):  # zero bytes, nesting
            count //= 2
        else:
            if code.strip():
                return code
            break
    return "\n".join(lines)
