from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llmasos.errors import InvalidRequest, NotFound, ScoreOutOfBounds
from llmasos.evaluation.reports.gate import Bound, as_junit, checks, enforce
from llmasos.evaluation.result import Evaluation, ScoreEntry
from score_records import answered, record, write_run


@pytest.fixture
def evaluations(tmp_path: Path) -> list[Evaluation]:
    one = write_run(tmp_path / "a", answered([True, True, False, True]), ["accuracy"], task="sums")
    records = [record(index, loglikelihood=-9.0, token_count=3, word_count=2, byte_count=9) for index in range(3)]
    two = write_run(tmp_path / "b", records, ["perplexity"], task="text", model="bad \x00 name & <more>")
    return [one, two]


def test_bounds_are_read() -> None:
    assert Bound.parse("accuracy=0.6") == Bound("accuracy", 0.6)
    assert Bound.parse(" gsm8k:pass@1=3e-1 ") == Bound("pass@1", 0.3, "gsm8k")
    assert Bound.parse("f1[a:b]=0.5") == Bound("f1[a:b]", 0.5)


@pytest.mark.parametrize("text", ["accuracy", "accuracy=", "accuracy=high", "=1", "accuracy=nan", ""])
def test_what_is_no_bound_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="no bound") as caught:
        Bound.parse(text)
    assert "accuracy=0.6" in (caught.value.hint or "")


def test_a_score_must_reach_its_bound_or_stay_below(evaluations: list[Evaluation]) -> None:
    perplexity = evaluations[1].scores["perplexity"].value
    assert perplexity == pytest.approx(math.exp(3))
    kept = checks([Bound("accuracy", 0.75), Bound("perplexity", 21, "text")], evaluations)
    assert [check.passed for check in kept] == [True, True]
    enforce(kept)
    broken = checks([Bound("accuracy", 0.76), Bound("perplexity", 20)], evaluations)
    assert [check.passed for check in broken] == [False, False]
    with pytest.raises(ScoreOutOfBounds, match=r"sums: accuracy is 0\.7500, and must be at least 0\.7600\n") as caught:
        enforce(broken)
    assert "text: perplexity is 20.09, and must be at most 20.00" in caught.value.message
    assert caught.value.exit_code == 9


def test_a_score_that_is_not_defined_keeps_no_bound(evaluations: list[Evaluation]) -> None:
    undefined = replace(evaluations[0], scores={"accuracy": ScoreEntry(math.nan)})
    assert not checks([Bound("accuracy", 0)], [undefined])[0].passed


def test_a_task_that_failed_as_a_whole_does_not_pass_because_another_has_the_score(
    evaluations: list[Evaluation],
) -> None:
    failed = replace(evaluations[0], task="broken", scores={}, counts={"error": 4}, notes=("no answer",))
    done = checks([Bound("accuracy", 0.5)], [evaluations[0], failed])
    assert [(check.evaluation.task, check.passed) for check in done] == [("sums", True), ("broken", False)]
    with pytest.raises(ScoreOutOfBounds, match="broken: there is no accuracy: every sample failed"):
        enforce(done)
    root = ElementTree.fromstring(as_junit(done, [evaluations[0], failed]))
    assert [suite.get("failures") for suite in root] == ["0", "1"]
    with pytest.raises(ScoreOutOfBounds):
        enforce(checks([Bound("accuracy", 0.5, "broken")], [failed]))
    with pytest.raises(NotFound, match="no score 'acuracy'"):
        checks([Bound("acuracy", 0.5)], [evaluations[0], failed])


def test_a_check_that_checks_nothing_does_not_pass(evaluations: list[Evaluation]) -> None:
    with pytest.raises(NotFound, match="no score 'acuracy'") as caught:
        checks([Bound("acuracy", 0.5)], evaluations)
    assert "accuracy" in (caught.value.hint or "")
    with pytest.raises(NotFound, match="no task 'sum'") as missing:
        checks([Bound("accuracy", 0.5, "sum")], evaluations)
    assert "sums" in (missing.value.hint or "")


def test_junit_has_a_case_for_each_bound(evaluations: list[Evaluation]) -> None:
    done = checks([Bound("accuracy", 0.9), Bound("perplexity", 30)], evaluations)
    root = ElementTree.fromstring(as_junit(done, evaluations))
    suites = {suite.get("name"): suite for suite in root}
    assert set(suites) == {"sums", "text"}
    assert (suites["sums"].get("tests"), suites["sums"].get("failures")) == ("2", "1")
    assert (suites["text"].get("tests"), suites["text"].get("failures")) == ("2", "0")
    failure = suites["sums"].find("testcase[@name='accuracy >= 0.9']/failure")
    assert failure is not None
    assert "must be at least" in (failure.get("message") or "")
    assert suites["text"].find("testcase[@name='perplexity <= 30']") is not None
    properties = {item.get("name"): item.get("value") for item in suites["text"].iter("property")}
    assert properties["model"] == "bad \ufffd name & <more>"
    assert float(properties["score.perplexity"] or "") == pytest.approx(math.exp(3))


def test_junit_says_when_nothing_ran(evaluations: list[Evaluation]) -> None:
    failed = replace(evaluations[0], counts={"error": 4}, notes=("the first error: no answer",))
    root = ElementTree.fromstring(as_junit([], [failed]))
    assert root[0].get("errors") == "1"
    assert root[0].find("testcase/error") is not None
