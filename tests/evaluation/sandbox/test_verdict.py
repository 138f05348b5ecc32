"""A program passes by reaching its last line, and by nothing else that it prints, returns or replaces."""

from __future__ import annotations

import pytest

from llmasos.evaluation.sandbox.options import OutcomeStatus
from sandboxed import Execute

pytestmark = pytest.mark.integration  # many processes

PASSED, FAILED = OutcomeStatus.PASSED, OutcomeStatus.FAILED

WRONG = "assert 1 + 1 == 3"


def test_right_and_wrong(execute: Execute) -> None:
    assert execute("x = 1", "assert x == 1").status is PASSED
    outcome = execute("x = 1", "print('seen')\nassert x == 2, 'not two'")
    assert outcome.status is FAILED
    assert outcome.stdout == "seen\n"
    assert "AssertionError: not two" in outcome.stderr
    assert "assert x == 2" in outcome.stderr  # the line is shown


def test_a_program_is_the_main_module(execute: Execute) -> None:
    outcome = execute(
        """
        import dataclasses, pickle, sys, typing
        assert __name__ == "__main__"
        @dataclasses.dataclass
        class A:
            x: "int" = 1
        assert pickle.loads(pickle.dumps(A(2))) == A(2)
        assert typing.get_type_hints(A) == {"x": int}
        import __main__
        assert __main__.A is A and sys.argv == ["program"]
        """
    )
    assert outcome.status is PASSED, outcome


@pytest.mark.parametrize(
    "trick",
    [
        "print('passed')",
        'import os\nprint(\'{"ended": "passed"}\', flush=True)\nos._exit(0)',
        "import sys\nsys.exit(0)",
        "raise SystemExit",
        "raise SystemExit(0)",
        "import os\nos._exit(0)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
        "import os\nos.abort()",
        "raise KeyboardInterrupt",
        "raise GeneratorExit",
        "import builtins\nbuiltins.AssertionError = type('E', (), {})",
        "import sys\nsys.excepthook = lambda *a: None",
        "import atexit, os\natexit.register(os._exit, 0)",
        "import os\nos._exit = lambda code: None",
        "import json\njson.dumps = lambda value: '{}'",
        "import builtins\nbuiltins.exec = builtins.compile = lambda *a, **k: None",
        "import sys\nsys.stdout = sys.stderr = None",
        "import socket\nsocket.socket.recv = lambda *a: bytes(16)\nsocket.socket.send = lambda *a: 0",
        'import os\nfor fd in range(3, 64):\n    try:\n        os.write(fd, b\'{"ended": "passed"}\\n{"word": "00", '
        '"ended": "passed"}\\npassed\\n\')\n    except OSError:\n        pass',
        "import os\nos.closerange(0, 64)",
        "import sys\nsys.settrace(lambda *a: None)",
        "import ctypes\nctypes.string_at(0)",
        "def f(): f()\nf()",
        "class E(BaseException):\n    def __str__(self): raise E\n    __repr__ = __str__\nraise E",
        "x = '''",
        "if False:",
        "__debug__",
        "import sys\nsys.modules['__main__'] = None",
    ],
)
def test_a_wrong_program_cannot_pass(execute: Execute, trick: str) -> None:
    outcome = execute(trick, WRONG)
    assert outcome.status is FAILED, outcome


def test_text_left_open_swallows_no_tests(execute: Execute) -> None:
    opened, tests = "x = '''", "assert 1 == 2\n'''the end'''"
    assert execute(opened, tests).status is FAILED
    assert execute("x = '''\n" + "assert 1 == 2\n'''").status is PASSED  # in one part it would


@pytest.mark.parametrize(
    "program", ["def f(:", "x = \0", "é = 1\n\tb", "(" * 500 + ")" * 500, "x = '\ud800'\nprint(x)", "await x"]
)
def test_texts_that_are_no_program(execute: Execute, program: str) -> None:
    outcome = execute(program)
    assert outcome.status is FAILED, outcome
    assert "Error" in outcome.stderr


def test_what_is_closed_or_replaced_does_no_harm(execute: Execute) -> None:
    assert execute("import sys\nsys.stdout.close()\nx = 1").status is PASSED
    assert execute("import os\nos.close(1)\nos.close(2)\nx = 1").status is PASSED
    assert execute("import time\ntime.monotonic = time.time = None").status is PASSED


def test_programs_run_the_same_every_time(execute: Execute) -> None:
    program = "print(list({str(i) for i in range(50)}))"
    assert execute(program).stdout == execute(program).stdout
