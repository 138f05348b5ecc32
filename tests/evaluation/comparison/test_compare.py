from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from llmasos.errors import IntegrityError, InvalidRequest, NotFound
from llmasos.evaluation.comparison.compare import compare
from llmasos.evaluation.comparison.result import CompareOptions
from llmasos.evaluation.records import Status
from llmasos.evaluation.runs import Run, runs_in
from llmasos.evaluation.statistics.paired import holm, mcnemar
from score_records import answered, record, texts, write_run

QUICK = CompareOptions(resamples=500)


def _right(share: float, seed: int, count: int = 80) -> list[bool]:
    draw = random.Random(seed)
    return [draw.random() < share for _ in range(count)]


def _models(folder: Path, *shares: float) -> dict[str, list[Run]]:
    for place, share in enumerate(shares):
        write_run(folder / f"m{place}", answered(_right(share, place)), ["accuracy"], model=f"m{place}")
    return {f"m{place}": runs_in(folder / f"m{place}") for place in range(len(shares))}


def test_right_and_wrong_is_tested_by_mcnemar_and_corrected_for_all_tests(tmp_path: Path) -> None:
    found = compare(_models(tmp_path, 0.3, 0.5, 0.8), QUICK)
    (task,) = found.tasks
    assert task.models == ("m0", "m1", "m2")
    assert task.samples == 80
    assert [(test.first, test.second, test.test) for test in task.tests] == [
        ("m0", "m1", "mcnemar-mid-p"), ("m0", "m2", "mcnemar-mid-p"),
    ]  # fmt: skip
    expected = [mcnemar(_right(0.3, 0), _right(share, place)).mid_p for place, share in ((1, 0.5), (2, 0.8))]
    assert [test.p_value for test in task.tests] == pytest.approx(expected)
    assert [test.adjusted for test in task.tests] == pytest.approx(holm(expected))
    better = task.tests[1]
    assert better.finding(0.05) == "better"
    assert better.interval is not None
    assert better.interval.low < better.difference < better.interval.high
    assert better.better + better.worse + better.same == 80
    assert (better.only_second, better.only_first) == (better.better, better.worse)
    assert better.minimum_detectable is not None
    assert 0.05 < better.minimum_detectable < 0.4


def test_all_pairs_are_more_tests(tmp_path: Path) -> None:
    found = compare(_models(tmp_path, 0.5, 0.5, 0.5), CompareOptions(resamples=200, all_pairs=True))
    assert [(test.first, test.second) for test in found.tests] == [("m0", "m1"), ("m0", "m2"), ("m1", "m2")]


def test_equal_models_differ_in_nothing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name, answered(_right(0.5, 3)), ["accuracy"], model=name)
    (test,) = compare({name: runs_in(tmp_path / name) for name in ("a", "b")}, QUICK).tests
    assert (test.difference, test.p_value, test.finding(0.05)) == (0, 1, "none")
    assert (test.regressions, test.improvements) == ((), ())
    # Nothing differed, and yet a difference of less than five samples could not have been found.
    assert test.minimum_detectable == pytest.approx(5 / 80)


def test_other_scores_are_tested_by_the_bootstrap_and_the_most_changed_samples_named(tmp_path: Path) -> None:
    known = [f"the quick brown fox number {index} jumps over the lazy dog" for index in range(30)]
    good = [(text, text) for text in known]
    bad = [(text if place % 3 else "nothing at all", text) for place, text in enumerate(known)]
    write_run(tmp_path / "good", texts(good), ["bleu", "rouge"], model="good")
    write_run(tmp_path / "bad", texts(bad), ["bleu", "rouge"], model="bad")
    models = {name: runs_in(tmp_path / name) for name in ("good", "bad")}
    found = compare(models, CompareOptions(resamples=500, samples=4))
    (test,) = found.tests
    assert (test.metric, test.test) == ("bleu", "paired-bootstrap")
    assert test.finding(0.05) == "worse"
    assert [change.index for change in test.regressions] == [0, 3, 6, 9]
    assert test.improvements == ()
    assert {change.index % 3 for change in found.tasks[0].hardest} == {0}
    everything = compare(models, CompareOptions(resamples=200, all_metrics=True))
    assert [test.metric for test in everything.tests] == ["bleu", "rouge1", "rouge2", "rougeL", "rougeLsum"]


def test_less_may_be_better(tmp_path: Path) -> None:
    for name, value in (("a", -2.0), ("b", -3.0)):
        records = [
            record(index, loglikelihood=value * 10 + index % 3, token_count=10, word_count=8, byte_count=40)
            for index in range(40)
        ]
        write_run(tmp_path / name, records, ["perplexity"], model=name)
    (test,) = compare({name: runs_in(tmp_path / name) for name in ("a", "b")}, QUICK).tests
    assert test.difference > 0
    assert test.finding(0.05) == "worse"
    assert test.worse == 40


def test_only_shared_samples_are_compared_and_the_rest_is_counted(tmp_path: Path) -> None:
    records = answered(_right(0.5, 1, 30))
    write_run(tmp_path / "a", records, ["accuracy"], model="a")
    write_run(tmp_path / "b", list(reversed(records[5:])), ["accuracy"], model="b")
    models = {name: runs_in(tmp_path / name) for name in ("a", "b")}
    with pytest.raises(InvalidRequest, match="the samples differ"):
        compare(models, QUICK)
    (task,) = compare(models, CompareOptions(resamples=200, allow_different=True)).tasks
    assert task.samples == 25
    assert task.left_out == {"a": 5}
    assert task.tests[0].difference == 0  # paired by id, although the order is another
    assert "the samples differ" in task.notes


def test_equal_rows_are_paired_in_their_order(tmp_path: Path) -> None:
    for name, right in (("a", (True, False)), ("b", (True, False))):
        records = [
            record(index, sample_id="same", status=Status.CORRECT if good else Status.WRONG)
            for index, good in enumerate(right)
        ]
        write_run(tmp_path / name, records, ["accuracy"], model=name)
    (task,) = compare({name: runs_in(tmp_path / name) for name in ("a", "b")}, QUICK).tasks
    assert task.samples == 2
    assert task.tests[0].same == 2


def test_other_settings_are_another_experiment_but_a_chat_template_is_only_said(tmp_path: Path) -> None:
    records = answered(_right(0.5, 1))
    write_run(tmp_path / "a", records, ["accuracy"], model="a", settings={"few_shot": 5, "chat": True})
    write_run(tmp_path / "b", records, ["accuracy"], model="b", settings={"few_shot": 0, "model.dtype": "int8"})
    write_run(tmp_path / "c", records, ["accuracy"], model="c", settings={"few_shot": 5, "chat": False})
    with pytest.raises(InvalidRequest, match="few_shot: a 5, b 0") as caught:
        compare({name: runs_in(tmp_path / name) for name in ("a", "b")}, QUICK)
    assert "--allow-different" in (caught.value.hint or "")
    (task,) = compare({name: runs_in(tmp_path / name) for name in ("a", "c")}, QUICK).tasks
    assert task.notes == ("chat template: a yes, c no",)


def test_of_several_runs_those_made_alike_are_taken(tmp_path: Path) -> None:
    records = answered(_right(0.5, 1))
    write_run(tmp_path / "a/0", records, ["accuracy"], model="a", settings={"few_shot": 0}, created="2026-01-01")
    write_run(tmp_path / "a/5", records, ["accuracy"], model="a", settings={"few_shot": 5}, created="2026-01-02")
    write_run(tmp_path / "b/0", records, ["accuracy"], model="b", settings={"few_shot": 0}, created="2026-01-03")
    (task,) = compare({name: runs_in(tmp_path / name) for name in ("a", "b")}, QUICK).tasks
    assert [run.evaluation.settings for run in task.runs] == [{"few_shot": 0}] * 2


def test_unparsed_answers_are_said(tmp_path: Path) -> None:
    write_run(tmp_path / "a", answered([True, False]), ["accuracy"], model="a")
    mute = [record(index, status=Status.UNPARSED) for index in range(2)]
    write_run(tmp_path / "b", mute, ["accuracy"], model="b")
    (task,) = compare({name: runs_in(tmp_path / name) for name in ("a", "b")}, QUICK).tasks
    assert task.notes == ("b: unparsed 2 of 2 samples",)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    models = _models(tmp_path, 0.5, 0.6)
    with pytest.raises(InvalidRequest, match="two models"):
        compare({"m0": models["m0"]}, QUICK)
    with pytest.raises(NotFound, match="m0 was not evaluated on maed") as caught:
        compare(models, QUICK, ["maed"])
    assert "made" in (caught.value.hint or "")
    with pytest.raises(NotFound, match="no score 'acuracy'") as missing:
        compare(models, CompareOptions(metrics=("acuracy",)))
    assert "accuracy" in (missing.value.hint or "")
    write_run(tmp_path / "other", answered([True], task="else"), ["accuracy"], model="other", task="else")
    with pytest.raises(NotFound, match="no task in common"):
        compare({**models, "other": runs_in(tmp_path / "other")}, QUICK)


def test_lost_scores_are_said(tmp_path: Path) -> None:
    models = _models(tmp_path, 0.5, 0.6)
    (tmp_path / "m1" / "scores.parquet").unlink()
    with pytest.raises(IntegrityError, match=r"no scores\.parquet"):
        compare(models, QUICK)
    (tmp_path / "m1" / "scores.parquet").write_bytes(b"PAR1 but nothing more")
    with pytest.raises(IntegrityError, match="is damaged"):
        compare({name: runs_in(tmp_path / name) for name in ("m0", "m1")}, QUICK)


def test_everything_is_the_same_every_time(tmp_path: Path) -> None:
    models = _models(tmp_path, 0.4, 0.6)
    first, again = compare(models, QUICK).tests, compare(models, QUICK).tests
    assert json.dumps(first, default=repr) == json.dumps(again, default=repr)
