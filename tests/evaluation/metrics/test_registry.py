from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import BaseModel

from llmasos.errors import InvalidRecipe
from llmasos.evaluation.metrics.aggregation import AGGREGATIONS, Aggregation
from llmasos.evaluation.metrics.base import Context
from llmasos.evaluation.metrics.registry import METRICS, compute, context_of
from llmasos.evaluation.records import Status
from llmasos.evaluation.scoring import entries, scores_of
from llmasos.evaluation.task import TASKS, ClassificationTask, MetricUse
from score_records import classified, metric, record, texts


def test_a_misspelled_metric_gets_a_suggestion() -> None:
    with pytest.raises(InvalidRecipe, match="there is no metric 'acuracy'") as caught:
        metric("acuracy")
    assert "accuracy" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("bleu", {"tokenizer": "moses"}, "metric bleu: tokenizer = 'moses'"),
        ("rouge", {"varants": ["rouge1"]}, "metric rouge: varants"),
        ("calibration", {"bins": 1}, "metric calibration: bins = 1"),
        ("judge", {}, "metric judge: judge"),
    ],
)
def test_wrong_options_are_refused_with_the_allowed_ones(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRecipe, match=message) as caught:
        metric(name, **options)
    assert caught.value.hint


def test_every_option_is_described_and_every_default_metric_exists() -> None:
    for kind in METRICS.values():
        assert issubclass(kind, BaseModel)
        assert all(field.description for field in kind.model_fields.values()), kind
        assert kind.__doc__
    for task in TASKS.values():
        assert set(task.default_metrics) <= set(METRICS), task


def test_aggregations_can_be_written_down() -> None:
    for given in (Aggregation("ratio"), Aggregation("chrf", (6, 2)), Aggregation("class_scores", ("f1", "macro"))):
        assert Aggregation.from_json(given.as_json()) == given
    with pytest.raises(KeyError):
        Aggregation.from_json(["eval"])
    assert "ratio" in AGGREGATIONS


def _task(**values: Any) -> ClassificationTask:
    return ClassificationTask.model_validate({
        "name": "made", "kind": "classification", "language": "zh", "text": "{{text}}", "prompt": "{{text}}",
        "labels": ["no", "yes"], "answer": "{{label}}", "data": {"splits": {"test": "rows.jsonl"}}, **values,
    })  # fmt: skip


def test_a_task_says_what_metrics_must_know() -> None:
    assert context_of(_task()) == Context(language="zh", labels=("no", "yes"))


def test_scores_of_a_task_have_intervals_around_them() -> None:
    records = classified([0, 1] * 20, [0, 1, 1, 1] * 10, ("no", "yes"))
    found = scores_of(_task(metrics=["accuracy", {"name": "f1", "options": {"averages": ["macro"]}}, "mcc"]), records,
                      resamples=500)  # fmt: skip
    assert list(found) == ["accuracy", "f1_macro", "mcc"]
    for entry in found.values():
        assert entry.low is not None
        assert entry.high is not None
        assert entry.low < entry.value < entry.high
    assert found["accuracy"].interval == "wilson 95 %"
    assert found["mcc"].interval == "bootstrap-bca 95 %"
    assert found == scores_of(_task(metrics=["accuracy", {"name": "f1", "options": {"averages": ["macro"]}}, "mcc"]),
                              records, resamples=500)  # fmt: skip


def test_without_resamples_only_proportions_have_intervals() -> None:
    records = texts([("a b", "a b"), ("c d", "c e")])
    found = entries(compute([metric("exact_match"), metric("token_f1")], records, Context("en")), resamples=0)
    assert found["exact_match"].low is not None
    assert found["token_f1"].low is None


def test_a_score_that_is_not_defined_has_no_interval() -> None:
    records = [record(index, loglikelihood=-math.inf, token_count=1, word_count=1, byte_count=1) for index in range(3)]
    records.append(record(3, loglikelihood=-1.0, token_count=0, word_count=1, byte_count=1, status=Status.SCORED))
    found = entries(compute([metric("perplexity")], records, Context()), resamples=100)
    assert not math.isfinite(found["perplexity"].value)
    assert found["perplexity"].low is None
    assert found["word_perplexity"].samples == 1


def test_several_uses_of_a_metric_keep_the_first_of_a_name() -> None:
    uses = [MetricUse(name="bleu", options={"lowercase": True}), MetricUse(name="bleu", options={})]
    records = texts([("A CAT SAT HERE", "a cat sat here")])
    found = scores_of(_task(metrics=[use.model_dump() for use in uses]), records, resamples=0)
    assert found["bleu"].value == pytest.approx(100)
