from __future__ import annotations

import math

import pytest

from llmasos.errors import InvalidRequest
from llmasos.modeling.options import SamplingOptions, Seq2SeqOptions, check_truncate


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InvalidRequest) as caught:
        SamplingOptions().updated({"temprature": 0.5})
    assert "temprature" in caught.value.message
    assert "temperature" in caught.value.message


def test_all_problems_are_reported_together() -> None:
    with pytest.raises(InvalidRequest) as caught:
        SamplingOptions().updated({"top_p": 2, "top_k": -1, "max_tokens": 0, "seed": "x", "colour": 1})
    for name in ("top_p", "top_k", "max_tokens", "seed", "colour"):
        assert name in caught.value.message
    assert "temperature" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1), ("temperature", math.nan), ("temperature", math.inf), ("temperature", True),
        ("top_k", 1.5), ("top_k", True), ("top_p", 0), ("top_p", 1.01), ("min_p", -0.1), ("min_p", 1.1),
        ("repetition_penalty", 0), ("presence_penalty", 2.5), ("frequency_penalty", -3), ("seed", -1),
        ("max_tokens", 0), ("min_tokens", -1), ("stop", ""), ("stop", ["a", ""]), ("stop", 5), ("stop_token_ids", "a"),
        ("stop_token_ids", [-1]), ("ignore_eos", 1), ("logprobs", 101), ("logit_bias", [1]),
        ("logit_bias", {1: math.inf}), ("logit_bias", {"x": 1}), ("skip_special_tokens", "yes"),
    ],
)  # fmt: skip
def test_values_that_are_not_allowed(name: str, value: object) -> None:
    with pytest.raises(InvalidRequest, match=name):
        SamplingOptions().updated({name: value})


def test_values_are_brought_into_form() -> None:
    options = SamplingOptions().updated(
        {"stop": "END", "stop_token_ids": 7, "logit_bias": {"5": 1, 6: -math.inf}, "temperature": 1}
    )
    assert options.stop == ("END",)
    assert options.stop_token_ids == (7,)
    assert options.logit_bias == {5: 1.0, 6: -math.inf}
    assert isinstance(options.temperature, float)


def test_none_keeps_the_models_default() -> None:
    assert SamplingOptions(temperature=0.7, top_k=20).updated({"temperature": None, "top_k": 5}).temperature == 0.7


@pytest.mark.parametrize("name", ["top_k", "top_p", "min_p"])
def test_asking_for_a_sampling_rule_asks_for_sampling(name: str) -> None:
    assert SamplingOptions().updated({name: 1}).temperature == 1.0
    assert SamplingOptions(temperature=0.3).updated({name: 1}).temperature == 0.3
    assert SamplingOptions().updated({name: 1, "temperature": 0}).greedy


def test_fewest_tokens_above_most_tokens_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="min_tokens"):
        SamplingOptions().updated({"min_tokens": 5, "max_tokens": 4})


def test_sampling_switches_the_models_beam_search_off() -> None:
    defaults = Seq2SeqOptions(num_beams=4)
    assert defaults.updated({"temperature": 0.5}).num_beams == 1
    assert defaults.updated({"top_k": 5}).num_beams == 1
    assert defaults.updated({"temperature": 0}).num_beams == 4


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 4, "temperature": 0.5},
        {"num_beams": 4, "logprobs": 2},
        {"num_beams": 4, "logit_bias": {1: 1.0}},
        {"num_beams": 4, "stop_token_ids": [3]},
        {"num_beams": 1, "length_penalty": 2.0},
        {"num_beams": 1, "early_stopping": True},
    ],
)
def test_beam_search_and_sampling_exclude_each_other(options: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match="num_beams"):
        Seq2SeqOptions().updated(options)


def test_early_stopping_has_three_values() -> None:
    for value in (True, False, "never"):
        assert Seq2SeqOptions(num_beams=2).updated({"early_stopping": value}).early_stopping == value
    with pytest.raises(InvalidRequest, match="early_stopping"):
        Seq2SeqOptions(num_beams=2).updated({"early_stopping": "always"})


def test_truncate_is_an_end_or_nothing() -> None:
    assert check_truncate(None) is None
    assert check_truncate("start") == "start"
    with pytest.raises(InvalidRequest, match="truncate"):
        check_truncate(True)
