from __future__ import annotations

import math

import pytest

from llmasos.errors import InvalidRequest
from llmasos.evaluation.records import Status
from score_records import record, scores


def test_perplexities_are_over_all_texts_together() -> None:
    records = [
        record(0, loglikelihood=-12.0, token_count=6, word_count=4, byte_count=24),
        record(1, loglikelihood=-30.0, token_count=10, word_count=8, byte_count=40),
        record(2, status=Status.ERROR, error="too long"),
    ]
    found = scores(records, "perplexity")
    assert {name: score.value for name, score in found.items()} == pytest.approx({
        "perplexity": math.exp(42 / 16),
        "word_perplexity": math.exp(42 / 12),
        "byte_perplexity": math.exp(42 / 64),
        "bits_per_byte": 42 / 64 / math.log(2),
        "sample_perplexity": math.exp(42 / 2),
    })  # fmt: skip
    assert {score.samples for score in found.values()} == {2}
    assert not any(score.higher_is_better for score in found.values())
    assert found["perplexity"].per_sample is not None
    assert found["perplexity"].per_sample[:2].tolist() == pytest.approx([math.exp(2), math.exp(3)])
    assert math.isnan(found["perplexity"].per_sample[2])


def test_it_needs_likelihoods() -> None:
    with pytest.raises(InvalidRequest, match="log-likelihoods"):
        scores([record(0)], "perplexity")
