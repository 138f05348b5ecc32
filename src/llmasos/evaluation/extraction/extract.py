"""Reading the answer in an output. ``None`` always means: there is no answer that could be read."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from llmasos.evaluation.extraction.choices import choice_letter
from llmasos.evaluation.extraction.code import code_block
from llmasos.evaluation.extraction.latex import last_boxed
from llmasos.evaluation.extraction.numbers import first_number, last_number
from llmasos.evaluation.extraction.options import (
    Boxed,
    ChoiceLetter,
    CodeBlock,
    Extraction,
    FirstLine,
    Json,
    LastNumber,
    Regex,
)


def extract(options: Extraction, output: str) -> str | None:
    """The answer in an output, or ``None`` if there is none. Raises nothing, whatever the output is."""
    if isinstance(options, Regex):
        return _by_pattern(options, output)
    if isinstance(options, LastNumber):
        return _number(options, output)
    if isinstance(options, Boxed):
        return _text(last_boxed(output))
    if isinstance(options, ChoiceLetter):
        return choice_letter(output, options.letters)
    if isinstance(options, CodeBlock):
        return code_block(output, options.take, options.unfenced)
    if isinstance(options, FirstLine):
        return next((line.strip() for line in output.splitlines() if line.strip()), None)
    if isinstance(options, Json):
        return json_value(output, options.path)
    return _text(output)


def _text(found: str | None) -> str | None:
    """White space around it taken off; nothing left is no answer."""
    return (found or "").strip() or None


@lru_cache(maxsize=256)
def _compiled(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    return re.compile(pattern, re.MULTILINE | (re.IGNORECASE if ignore_case else 0))


def _by_pattern(options: Regex, output: str) -> str | None:
    pattern = _compiled(options.pattern, options.ignore_case)
    group = options.group if options.group is not None else min(pattern.groups, 1)
    found = [match[group] for match in pattern.finditer(output)]
    answers = [answer.strip() for answer in found if answer and answer.strip()]
    if not answers:
        return None
    return answers[0] if options.take == "first" else answers[-1]


def _number(options: LastNumber, output: str) -> str | None:
    for marker in options.after:
        place = output.rfind(marker)
        if place >= 0:
            return first_number(output[place + len(marker) :], chinese=options.chinese)
    return last_number(output, chinese=options.chinese)


_STEP = re.compile(r"\[(-?\d+)\]|([^.\[\]]+)")
_ABSENT = object()


def json_value(output: str, path: str) -> str | None:
    """The value at a path of the first JSON object or array in a text that has it; ``null`` counts as none.

    Texts come as they are, other values as JSON. Without a path, a text that is one JSON value counts as well.
    """
    decoder = json.JSONDecoder()
    steps = [int(place) if place else key for place, key in _STEP.findall(path)]
    starts = [match.start() for match in re.finditer(r"[{\[]", output)]
    if not path:
        starts.insert(0, len(output) - len(output.lstrip()))
    end = 0
    for start in starts:
        if start < end:  # inside a document that was read and lacks the path
            continue
        try:
            document, end = decoder.raw_decode(output, start)
        except (ValueError, RecursionError):
            continue
        found = _follow(document, steps)
        if found is not _ABSENT and found is not None:
            return _text(found if isinstance(found, str) else json.dumps(found, ensure_ascii=False))
    return None


def _follow(document: Any, steps: list[int | str]) -> Any:
    for step in steps:
        if isinstance(step, int) and isinstance(document, list) and -len(document) <= step < len(document):
            document = document[step]
        elif isinstance(document, dict) and str(step) in document:
            document = document[str(step)]
        else:
            return _ABSENT
    return document
