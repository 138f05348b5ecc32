from __future__ import annotations

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos.errors import InvalidRequest
from llmasos.evaluation.metrics.base import Context
from llmasos.evaluation.metrics.diversity import self_bleu
from score_records import record, scores

tokens = st.lists(st.sampled_from("abcd"), min_size=1, max_size=12)


def test_distinct_counts_different_ngrams_of_all_outputs() -> None:
    records = [record(0, output="the cat the cat"), record(1, output="the dog", outputs=("the dog", "a dog"))]
    found = scores(records, "distinct")
    assert found["distinct_1"].value == pytest.approx(4 / 8)  # the, cat, dog, a
    assert found["distinct_2"].value == pytest.approx(4 / 5)  # the cat, cat the, the dog, a dog
    assert found["distinct_1"].sums is None
    assert found["distinct_1_mean"].value == pytest.approx((2 / 4 + 1) / 2)


def test_distinct_of_chinese_is_by_character() -> None:
    assert scores([record(0, output="哈哈哈")], "distinct", Context("zh"))["distinct_1"].value == pytest.approx(1 / 3)


@settings(max_examples=80, deadline=None)
@given(st.lists(tokens, min_size=2, max_size=6))
def test_self_bleu_equals_sacrebleu_with_all_others_as_references(outputs: list[list[str]]) -> None:
    metric = sacrebleu.BLEU(tokenize="none", effective_order=True)
    expected = [
        metric.sentence_score(" ".join(output), [" ".join(other) for other in outputs[:place] + outputs[place + 1 :]])
        for place, output in enumerate(outputs)
    ]
    assert self_bleu(outputs, 4).tolist() == pytest.approx([score.score for score in expected], abs=1e-6)


def test_outputs_to_one_prompt_are_compared_with_each_other() -> None:
    records = [
        record(0, output="a b c d", outputs=("a b c d", "a b c d")),
        record(1, output="e f g h", outputs=("e f g h", "i j k l")),
    ]
    found = scores(records, "self_bleu")["self_bleu"]
    assert found.per_sample is not None
    assert found.per_sample.tolist() == pytest.approx([100, 0])
    assert "within:prompt" in (found.signature or "")


def test_outputs_to_different_prompts_are_compared_and_few_enough_taken() -> None:
    records = [record(index, output=f"word{index} is here") for index in range(10)]
    found = scores(records, "self_bleu", most=4, seed=3)["self_bleu"]
    assert found.samples == 4
    assert "samples:4|seed:3" in (found.signature or "")
    assert found.value == scores(records, "self_bleu", most=4, seed=3)["self_bleu"].value


def test_one_output_has_nothing_to_be_compared_with() -> None:
    with pytest.raises(InvalidRequest, match="at least two"):
        scores([record(0, output="a")], "self_bleu")
    with pytest.raises(InvalidRequest, match="several outputs"):
        scores([record(0, output="a"), record(1, output="b")], "self_bleu", within="prompt")
