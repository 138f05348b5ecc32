from __future__ import annotations

from typing import Any

import pytest

from llmasos.engine.engine import Engine
from llmasos.engine.intake import Limits, check_capabilities, fit_prompt
from llmasos.engine.options import EngineOptions
from llmasos.engine.request import Grammar, Request, SamplingParameters
from llmasos.engine.task import BeamSearch, Embed, Generate
from llmasos.errors import ContextLengthExceeded, InvalidRequest, NotFound, OutOfMemory, Unsupported


def _limits(**values: Any) -> Limits:
    chosen: dict[str, Any] = {
        "vocabulary_size": 100, "context_length": 64, "cache_tokens": 1000, "bytes_per_token": 10,
        "capabilities": frozenset({"logits"}),
    }  # fmt: skip
    return Limits(**chosen | values)


def test_every_problem_is_named_at_once() -> None:
    parameters = SamplingParameters(
        temperature=-1, top_p=0.0, top_k=-3, n=0, seed="x", stop=("",), logit_bias={200: 1.0, 3: float("nan")},
        max_tokens=0, presence_penalty=float("inf"), stop_token_ids=(-1,),
    )  # fmt: skip
    request = Request([], parameters, truncate="middle", deadline=float("nan"), priority=1.5, grammar=Grammar("yaml"))  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest) as caught:
        request.check(100)
    for word in (
        "prompt is empty", "temperature", "top_p", "top_k", "n =", "seed", "stop[0]", "logit_bias[0] = 200",
        "logit_bias[3]", "max_tokens", "presence_penalty", "stop_token_ids", "truncate", "deadline", "priority",
        "grammar.kind",
    ):  # fmt: skip
        assert word in caught.value.message, word
    assert caught.value.hint


@pytest.mark.parametrize("prompt", [[1, 100], [-1], [True], [1.0], ["1"]])
def test_prompts_of_other_things_than_token_ids_are_refused(prompt: list[Any]) -> None:
    with pytest.raises(InvalidRequest, match="prompt_ids"):
        Request(prompt).check(100)


def test_values_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="best_of"):
        Request([1], SamplingParameters(n=3, best_of=2)).check()
    with pytest.raises(InvalidRequest, match="min_tokens"):
        Request([1], SamplingParameters(min_tokens=3, max_tokens=2)).check()


def test_limits_of_the_context() -> None:
    assert fit_prompt(Request([1] * 63), _limits()) == ([1] * 63, 0)
    with pytest.raises(ContextLengthExceeded, match="64 tokens"):
        fit_prompt(Request([1] * 64), _limits())
    scoring = SamplingParameters(max_tokens=0, echo=True)
    assert fit_prompt(Request([1] * 64, scoring), _limits())[1] == 0
    with pytest.raises(ContextLengthExceeded):
        fit_prompt(Request([1] * 65, scoring), _limits())


def test_a_cache_too_small_for_a_prompt_says_what_it_needs() -> None:
    with pytest.raises(OutOfMemory) as caught:
        fit_prompt(Request([1] * 40), _limits(cache_tokens=32))
    assert (caught.value.needed, caught.value.available) == (410, 320)


@pytest.mark.parametrize(
    ("length", "wanted", "kept"),
    [
        (60, None, 60),  # fits: nothing is cut
        (64, None, 48),  # a quarter is left for the output
        (60, 10, 54),  # max_tokens fit
        (60, 4, 60),
        (200, 50, 32),  # but take half at most
        (200, 1, 63),
        (200, 0, 64),
    ],
)
def test_truncation_keeps_the_chosen_end(length: int, wanted: int | None, kept: int) -> None:
    prompt = list(range(length))
    parameters = SamplingParameters(max_tokens=wanted, echo=True)
    left, cut = fit_prompt(Request(prompt, parameters, truncate="left"), _limits())
    right, _ = fit_prompt(Request(prompt, parameters, truncate="right"), _limits())
    assert (left, right, cut) == (prompt[length - kept :], prompt[:kept], length - kept)


def test_what_the_runner_cannot_do_is_refused() -> None:
    with pytest.raises(Unsupported, match="steering"):
        check_capabilities(Request([1], steering=("x",)), _limits())
    with pytest.raises(Unsupported, match="adapter"):
        check_capabilities(Request([1], adapter="a"), _limits())
    able = _limits(capabilities=frozenset({"adapters"}), adapters=lambda: {"legal", "poetry"})
    check_capabilities(Request([1], adapter="legal"), able)
    with pytest.raises(NotFound) as caught:
        check_capabilities(Request([1], adapter="poetri"), able)
    assert "poetry" in (caught.value.hint or "")


def test_what_only_other_kinds_of_models_do_is_refused(make_runner: Any) -> None:
    with Engine(make_runner(), options=EngineOptions(cache_bytes=1 << 16)) as engine:
        for task, name in (
            (Generate(beams=BeamSearch(4)), "beams"),
            (Generate(no_repeat_ngram_size=2), "no_repeat_ngram_size"),
            (Generate(target_language="fr"), "target_language"),
            (Embed(), "embed"),
        ):
            with pytest.raises(Unsupported, match=name):
                engine.submit(Request([1], task=task))
