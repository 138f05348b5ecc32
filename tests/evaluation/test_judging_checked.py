"""Programs that are run and instructions that are checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evaluation_cases import ScriptedBackend, make_task
from llmasos.errors import InvalidRequest, Unsupported
from llmasos.evaluation import judging_code
from llmasos.evaluation.evaluate import evaluate_in_memory
from llmasos.evaluation.options import RunOptions
from llmasos.evaluation.prepare import prepare
from llmasos.evaluation.records import Record, Status
from llmasos.evaluation.sandbox.isolation import available
from llmasos.evaluation.sandbox.options import Isolation

CODE: dict[str, Any] = {
    "rows": [{"signature": "def double(x):\n", "tests": ["assert double(2) == 4", "assert double(0) == 0"]}],
    "prompt": "{{signature}}", "delimiter": "", "extraction": {"kind": "code_block"},
    "program": ["{{signature}}{{completion}}", "{{tests}}"], "timeout": 5,
}  # fmt: skip

needs_isolation = pytest.mark.skipif(
    all(reason is not None for reason in available().values()), reason="nothing shuts programs in on this machine"
)


def judged(tmp_path: Path, outputs: list[str], *, reason: str = "stop", **keys: Any) -> Record:
    found = make_task(tmp_path, "code", **{**CODE, **keys})
    return evaluate_in_memory(ScriptedBackend(outputs, finish_reason=reason), found, RunOptions()).records[0]


@needs_isolation
@pytest.mark.parametrize(
    ("output", "reason", "status", "outcome"),
    [
        ("    return 2 * x\n", "stop", Status.CORRECT, "passed"),
        ("    return x\n", "stop", Status.WRONG, "failed"),
        ("    while True: pass\n", "stop", Status.WRONG, "timeout"),
        ("    return 2 *", "length", Status.TRUNCATED, "failed"),
        ("", "stop", Status.UNPARSED, "unparsed"),
        ("    return 2 * x\n    '''", "stop", Status.WRONG, "failed"),  # cannot swallow the tests
        ("    import os; os._exit(0)\n", "stop", Status.WRONG, "failed"),
        ("<think>\n    return 1\n</think>\n\n    return 2 * x\n", "stop", Status.CORRECT, "passed"),
        ("<think>\n    return 2 * x\n", "length", Status.TRUNCATED, "unparsed"),
    ],
)
def test_programs(tmp_path: Path, output: str, reason: str, status: Status, outcome: str) -> None:
    record = judged(tmp_path, [output], reason=reason, timeout=1)
    assert (record.status, record.details["outcomes"]) == (status, [outcome])
    assert record.passed == (outcome == "passed",)
    if status is Status.WRONG and outcome == "failed":
        assert record.details["reason"]


@needs_isolation
def test_several_programs_to_a_prompt_and_many_prompts(tmp_path: Path) -> None:
    rows = [
        {"signature": f"def double{number}(x):\n", "tests": [f"assert double{number}(2) == 4"]} for number in range(8)
    ]

    class Two(ScriptedBackend):
        def _answer(self, index: int, call: Any) -> Any:
            from dataclasses import replace

            from llmasos.evaluation.backends.protocol import Written

            outputs = (Written("    return x\n", "stop"), Written("    return 2 * x\n", "stop"))
            return replace(super()._answer(index, call), outputs=outputs)

    generation = {"samples": 2, "temperature": 1.0}
    found = make_task(tmp_path, "code", **{**CODE, "rows": rows, "generation": generation})
    done = evaluate_in_memory(Two(), found, RunOptions())
    assert [record.passed for record in done.records] == [(False, True)] * 8
    assert [record.index for record in done.records] == list(range(8))
    assert done.evaluation.scores["pass@1"].value == 0.5


def test_a_machine_without_isolation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(isolation: Isolation = Isolation.AUTO) -> Isolation:
        if isolation is Isolation.NONE:
            return isolation
        raise Unsupported("programs cannot be shut in")

    monkeypatch.setattr(judging_code, "choose", nothing)
    found = make_task(tmp_path, "code", **CODE)
    backend = ScriptedBackend(["    return 2 * x\n"])
    with pytest.raises(Unsupported, match="cannot be shut in"):
        prepare(found, backend, RunOptions())
    assert "programs were run without isolation" in prepare(found, backend, RunOptions(unsafe_code=True)).notes


def instructions(tmp_path: Path, ids: list[str], arguments: list[Any], output: str) -> Record:
    rows = [{"q": "Write.", "ids": ids, "args": arguments}]
    found = make_task(tmp_path, "instructions", rows=rows, prompt="{{q}}", instructions="{{ids}}", arguments="{{args}}")
    return evaluate_in_memory(ScriptedBackend([output]), found, RunOptions()).records[0]


def test_instructions_that_are_followed_strictly_loosely_and_not(tmp_path: Path) -> None:
    ids = ["punctuation:no_comma", "keywords:existence"]
    arguments = [None, {"keywords": ["small"]}]
    good = instructions(tmp_path, ids, arguments, "all is small and well")
    assert (good.status, good.details["strict"], good.details["loose"]) == (Status.CORRECT, [True] * 2, [True] * 2)
    loose = instructions(tmp_path, ids, arguments, "Sure, here it is:\nall is small and well")
    assert loose.status is Status.WRONG
    assert (loose.details["strict"], loose.details["loose"]) == ([False, True], [True, True])
    bad = instructions(tmp_path, ids, arguments, "No, never")
    assert (bad.status, bad.details["loose"]) == (Status.WRONG, [False] * 2)
    assert instructions(tmp_path, ids, arguments, " \n").status is Status.UNPARSED
    assert instructions(tmp_path, ids, arguments, "<think>Hm, so</think>all is small").status is Status.CORRECT
    assert instructions(tmp_path, ids, arguments, "<think>all is small and well").status is Status.UNPARSED


def test_an_unknown_instruction_shows_before_the_model_works(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no_coma") as caught:
        instructions(tmp_path, ["punctuation:no_coma"], [{}], "x")
    assert "punctuation:no_comma" in str(caught.value.hint)
