"""Code between fences, and completions that end where something else begins."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.evaluation.extraction.code import code_block, completion

BODY = "    if a:\n        return 1\n\n    return 2\n"


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("Here:\n```python\nx = 1\n```\nand\n```\ny = 2\n```", "x = 1\n"),
        ("```python\nx = 1", "x = 1\n"),
        ("~~~\nx = 1\n~~~", "x = 1\n"),
        ("```\n\n```\n```py\nx\n```", "x\n"),
        ("```\n```", None),
        (BODY + "```\nThis works.", BODY),
        (BODY, BODY),
        (BODY + "\n\ndef other():\n    pass\n", BODY),
        (BODY + "print(f(1))\n", BODY),
        (BODY + "\n# that was it\nx = 1", BODY),
        ('    """Text\nat the margin\n"""\n    return 1\nx', '    """Text\nat the margin\n"""\n    return 1\n'),
        ("    return [\n        1,\n]\nx = 1", "    return [\n        1,\n]\n"),
        ("def f():\n    return 1\n\nHere is why it works", "def f():\n    return 1\n"),
        ("import math\n\ndef f():\n    return math.pi", "import math\n\ndef f():\n    return math.pi\n"),
        ("", None),
    ],
)
def test_blocks(output: str, code: str | None) -> None:
    assert code_block(output) == code


def test_the_last_block_and_no_fences() -> None:
    output = "```\na\n```\n```\nb\n```"
    assert code_block(output, "last") == "b\n"
    assert code_block("x = 1", unfenced="none") is None
    assert code_block(BODY + "print(1)", unfenced="whole") == BODY + "print(1)\n"


@given(st.text(alphabet="ab\n\t ():='\"#\\\x00[]", max_size=120))
def test_a_completion_is_the_beginning_of_the_output(output: str) -> None:
    assert output.startswith(completion(output))


@given(st.sampled_from(["x = 1", "def f():\n    return 1", "import os\nprint(os)"]), st.text(max_size=40))
def test_what_is_python_is_kept(code: str, rest: str) -> None:
    found = completion(f"{code}\nThis is: no Python {rest}")
    ast.parse(found)
    assert found.startswith(code)
