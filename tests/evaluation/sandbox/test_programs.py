"""The programs of the built-in code tasks pass with right completions and fail with wrong ones."""

from __future__ import annotations

from typing import Any

import pytest

from llmasos.evaluation.extraction.extract import extract
from llmasos.evaluation.sandbox.options import Limits, Outcome, OutcomeStatus
from llmasos.evaluation.sandbox.run import run
from llmasos.evaluation.task import CodeTask
from llmasos.evaluation.tasks.find import find
from llmasos.evaluation.templates import Template

pytestmark = pytest.mark.integration  # many processes

PASSED, FAILED = OutcomeStatus.PASSED, OutcomeStatus.FAILED


def outcome(name: str, row: dict[str, Any], output: str) -> Outcome:
    """What comes of an output of a model for a row of a built-in task."""
    task = find(name).task
    assert isinstance(task, CodeTask)
    completion = extract(task.extraction, output)
    parts: list[str] = []
    for part in [task.program] if isinstance(task.program, str) else task.program:
        value = Template(part, "program").value({**row, "completion": completion or ""})
        parts += [str(value)] if not isinstance(value, list) else map(str, value)
    return run(parts, Limits(seconds=5))


AREA = {
    "prompt": 'import math\n\ndef area(r: float) -> float:\n    """The area of a circle."""\n',
    "test": "def check(candidate):\n    assert abs(candidate(2) - 12.566) < 0.01\n",
    "entry_point": "area",
}


@pytest.mark.parametrize(
    ("output", "status"),
    [
        ("    return math.pi * r * r\n", PASSED),
        ("    return math.pi * r * r\n\nprint(area(3))\nThis computes the area.", PASSED),
        ("def area(r):\n    return math.pi * r ** 2\n", PASSED),
        ("```python\nimport math\ndef area(r):\n    return math.pi * r ** 2\n```\nHere it is.", PASSED),
        ("    return math.pi * r * r\n```\nHere it is.", PASSED),
        ("    return r\n", FAILED),
        ("    return '''", FAILED),
        ("```\ndef volume(r):\n    return 1\n```", FAILED),
        ("```\narea = None\n```", FAILED),
        ("```\ndef area(r):\n    return r\ndef check(candidate): pass\n```", FAILED),
        ("```\nimport sys\nsys.exit(0)\n```", FAILED),
        ("", FAILED),
    ],
)
def test_problems_of_human_eval(output: str, status: OutcomeStatus) -> None:
    assert outcome("humaneval", AREA, output).status is status


@pytest.mark.parametrize(
    ("output", "status"),
    [
        ("Sure:\n```python\nimport math\n\ndef area(r):\n    return math.pi * r * r\n```\nIt works.", PASSED),
        ("```python\ndef area(r: float) -> float:\n    return math.pi * r * r\n```", PASSED),  # the prompt imports it
        ("```python\ndef area(r):\n    return r\n```", FAILED),
        ("I cannot do that.", FAILED),
        ("", FAILED),
    ],
)
def test_problems_of_human_eval_as_a_conversation(output: str, status: OutcomeStatus) -> None:
    assert outcome("humaneval-chat", AREA, output).status is status


PAIRS = {
    "test_setup_code": "pair = Pair(3, 4)",
    "test_list": ["assert total(Pair(1, 2)) == 3", "assert total(pair) == 7"],
}
TOTAL = (
    "class Pair:\n    def __init__(self, a, b):\n        self.a, self.b = a, b\n"
    "def total(pair):\n    return pair.a + pair.b\n"
)


@pytest.mark.parametrize(
    ("output", "status"),
    [
        (TOTAL, PASSED),
        (f"```python\n{TOTAL}```", PASSED),
        (TOTAL.replace("+", "-"), FAILED),
        (TOTAL.replace("total", "sum_of"), FAILED),
        ("I cannot do this.", FAILED),
    ],
)
def test_problems_of_mbpp(output: str, status: OutcomeStatus) -> None:
    assert outcome("mbpp", PAIRS, output).status is status
