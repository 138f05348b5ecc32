from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from sklearn.metrics import cohen_kappa_score

from evaluation_cases import ScriptedBackend
from llmasos.errors import InvalidRequest
from llmasos.evaluation.backends.protocol import Answer, Call, Write, Written
from llmasos.evaluation.judge.model import ask
from llmasos.evaluation.judge.pairwise import Pair, PairSummary, PairVerdict, judge_pairs
from llmasos.evaluation.judge.questions import Verdict
from llmasos.evaluation.metrics.base import Context
from score_records import record, scores
from standin_judge import serving

FIRST, SECOND, TIE = Verdict.FIRST, Verdict.SECOND, Verdict.TIE


class Rule(ScriptedBackend):
    """A judge that answers by a rule on the two answers as it sees them."""

    def __init__(self, rule: Callable[[str, str], str], **values: Any) -> None:
        super().__init__(**values)
        self.rule = rule

    def _answer(self, index: int, call: Call) -> Answer:
        assert isinstance(call, Write)
        shown = self.show(call.prompt)
        first, second = re.findall(r"<answer_[ab]>\n(.*?)\n</answer_[ab]>", shown, re.DOTALL)
        return Answer(shown, 1, outputs=(Written(self.rule(first, second), "stop"),))


def test_a_fair_judge_decides_alike_in_both_orders() -> None:
    judge = Rule(lambda first, second: f"Verdict: {'A' if len(first) > len(second) else 'B'}", chat=True)
    found = judge_pairs(judge, [Pair("task", "longer answer", "short"), Pair("task", "x", "much longer")])
    assert [verdict.decided for verdict in found.verdicts] == [FIRST, SECOND]
    assert found.points().tolist() == [1, 0]
    assert (found.consistency, found.kappa, found.unparsed) == (1, 1, 0)
    assert math.isnan(found.favours_first_place)
    assert all("<user>" in judge.show(call.prompt) for call in judge.calls if isinstance(call, Write))


def test_a_judge_that_always_takes_the_first_place_decides_nothing() -> None:
    found = judge_pairs(Rule(lambda first, second: "Verdict: A"), [Pair("t", "one", "two"), Pair("t", "three", "four")])
    assert [verdict.decided for verdict in found.verdicts] == [TIE, TIE]
    assert (found.consistency, found.favours_first_place) == (0, 1)
    assert found.count(TIE) == 2


def test_a_verdict_that_was_cut_off_does_not_count() -> None:
    for reason, expected in (("stop", ["Verdict: A"]), ("length", [None])):
        assert ask(ScriptedBackend(["Verdict: A"], finish_reason=reason), ["which?"], 8) == expected


def test_verdicts_that_cannot_be_read_are_counted_and_left_out() -> None:
    judge = Rule(lambda first, second: "Verdict: A" if first == "good" else "Hard to say.")
    found = judge_pairs(judge, [Pair("t", "good", "bad"), Pair("t", "good", "good")])
    assert found.verdicts[0] == PairVerdict(FIRST, None)
    assert found.verdicts[0].decided is None
    assert math.isnan(found.points()[0])
    assert found.unparsed == 1
    assert len(found.complete) == 1


def test_agreement_equals_scikit_learn() -> None:
    forward = [FIRST, SECOND, TIE, FIRST, SECOND, FIRST]
    backward = [FIRST, FIRST, TIE, SECOND, SECOND, TIE]
    found = PairSummary(tuple(PairVerdict(one, two) for one, two in zip(forward, backward, strict=True)))
    assert found.kappa == pytest.approx(cohen_kappa_score(forward, backward))
    assert found.consistency == pytest.approx(3 / 6)
    # Contradictions: (second, first): the second place both times; (first, second): the first both times; (first, tie).
    assert found.favours_first_place == pytest.approx((0 + 2 + 1) / 5)


def test_scores_of_the_metric_against_references() -> None:
    records = [record(0, output="clear and right", references=("x",)), record(1, output="no", references=("better",))]
    with serving(lambda first, second: f"Verdict: {'A' if len(first) > len(second) else 'B'}") as url:
        options = {"judge": {"model": "judge", "endpoint": url}}
        found = scores(records, "judge_preference", Context("en"), **options)
    assert {name: score.value for name, score in found.items() if name != "judge_first_place"} == {
        "judge_win_rate": 0.5, "judge_consistency": 1, "judge_kappa": 1, "judge_unparsed": 0,
    }  # fmt: skip
    assert found["judge_win_rate"].signature == "judge:judge|endpoint:yes|against:reference|orders:both"


def test_marks_of_the_metric() -> None:
    records = [record(0, output="right", references=("x",)), record(1, output="wrong", references=("x",)),
               record(2, output="mute", references=("x",))]  # fmt: skip
    marks = {"right": "Well done. Score: 9", "wrong": "Score: 2", "mute": "I cannot say."}
    with serving(marks) as url:
        found = scores(records, "judge", Context("en"), judge={"model": "judge", "endpoint": url})
    assert found["judge_score"].value == pytest.approx(5.5)
    assert found["judge_score"].samples == 2
    assert found["judge_unparsed"].value == pytest.approx(1 / 3)


def test_a_judge_of_this_machine_needs_a_way_to_load_it() -> None:
    with pytest.raises(InvalidRequest, match="cannot be loaded here"):
        scores([record(0, references=("x",))], "judge", judge={"model": "some-model"})


def test_the_variable_of_the_key_must_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    judge = {"model": "m", "endpoint": "http://127.0.0.1:9/v1", "api_key_variable": "JUDGE_KEY"}
    with pytest.raises(InvalidRequest, match="JUDGE_KEY is not set"):
        scores([record(0, references=("x",))], "judge", judge=judge)
