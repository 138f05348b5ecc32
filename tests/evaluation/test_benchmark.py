"""The benchmark against lm-evaluation-harness: what it compares, and what it times apart."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "evaluation.py"

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the benchmarks are not part of a source distribution")


@pytest.fixture(scope="module")
def benchmark_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("evaluation_benchmark", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sample(number: int, answers: list[Any], **metrics: float) -> dict[str, Any]:
    return {"doc_id": number, "prompt_hash": "same", "resps": answers, "metrics": list(metrics), **metrics}


def test_an_answer_that_was_written_may_be_a_number(benchmark_script: ModuleType) -> None:
    ours = [sample(0, [["7"]], exact_match=0.0), sample(1, [["so it is 7"]], exact_match=1.0)]
    theirs = [sample(0, [["7"]], exact_match=0.0), sample(1, [["it is 8"]], exact_match=0.0)]
    found = benchmark_script.agreement(ours, theirs, "generate_until")
    assert (found["same_texts"], found["largest_logprob_difference"]) == (1, None)
    assert found["different"] == [{"doc_id": 1, "metric": "exact_match", "ours": 1.0, "theirs": 0.0}]


def test_log_probabilities_may_be_held_as_texts(benchmark_script: ModuleType) -> None:
    ours, theirs = (
        [sample(0, [[["-1.5", "True"]], [[-2.0, False]]], acc=1.0)],
        [sample(0, [[[-1.25, True]], [[-2.0, False]]], acc=0.0)],
    )
    found = benchmark_script.agreement(ours, theirs, "multiple_choice")
    assert found["largest_logprob_difference"] == 0.25
    assert found["different"][0]["margin"] == 0.75


def test_the_search_for_the_batch_size_is_timed_apart(benchmark_script: ModuleType) -> None:
    def find(requests: object = None) -> int:
        time.sleep(0.02)
        return 64

    model = SimpleNamespace(_detect_batch_size=find)
    search = benchmark_script.Search(model)
    assert model._detect_batch_size([1]) == 64
    assert 0.02 <= search.seconds < 5
    assert benchmark_script.Search(SimpleNamespace()).seconds == 0


def test_no_prompt_may_be_cut(benchmark_script: ModuleType) -> None:
    model = SimpleNamespace(max_length=8, tok_encode=str.split)
    fits = {"doc_id": 0, "arguments": [("a b c", " d e"), ("a b c", {"max_gen_toks": 5})]}
    benchmark_script.check_lengths(model, "t", [fits])
    with pytest.raises(AssertionError, match="sample 1: 9 tokens"):
        benchmark_script.check_lengths(model, "t", [{"doc_id": 1, "arguments": [("a b c", {"max_gen_toks": 6})]}])
