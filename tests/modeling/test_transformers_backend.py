from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmasos.modeling import transformers_backend
from llmasos.modeling.backend import GenerationBackend, GenerationRequest
from llmasos.modeling.model import Model
from llmasos.modeling.options import SamplingOptions, Seq2SeqOptions
from llmasos.modeling.results import Delta

Get = Callable[[str], Model]
Open = Callable[..., Model]
PROMPTS = ["This is a great", "你好，世界", "The quick brown fox jumps over the lazy dog", "once upon a time"]


def backend_of(model: Model) -> Any:
    generator = model._parts.generator
    assert generator is not None
    return generator.backend


def test_requests_with_different_options_share_a_batch(model: Get) -> None:
    """Greedy, two seeds, a stop text, another length: each row gets what it gets alone."""
    backend = backend_of(model("llama"))
    assert isinstance(backend, GenerationBackend)
    ids = [model("llama").tokenize(prompt).ids for prompt in PROMPTS]
    whole = model("llama").generate(PROMPTS[0], max_tokens=20, temperature=0).text
    requests = [
        GenerationRequest(ids[0], SamplingOptions(), 20),
        GenerationRequest(ids[0], SamplingOptions(stop=(whole[4:7],)), 20),
        GenerationRequest(ids[1], SamplingOptions(temperature=1.2, seed=1, top_k=30), 9),
        GenerationRequest(ids[2], SamplingOptions(temperature=0.8, seed=2, logprobs=1), 14),
        GenerationRequest(ids[3], SamplingOptions(repetition_penalty=1.5), 11),
    ]

    def outputs(batch: list[GenerationRequest]) -> list[tuple[str, list[int], str | None]]:
        deltas = list(backend.generate(batch))
        found = []
        for index in range(len(batch)):
            own = [delta for delta in deltas if delta.index == index]
            found.append(
                ("".join(delta.text for delta in own), [token for delta in own for token in delta.token_ids],
                 own[-1].finish_reason)
            )  # fmt: skip
        return found

    assert outputs(requests) == [outputs([request])[0] for request in requests]


def test_beams_of_different_width_do_not_mix(model: Get) -> None:
    backend = backend_of(model("t5"))
    ids = model("t5").tokenize("The house").ids
    requests = [GenerationRequest(ids, Seq2SeqOptions(num_beams=beams), 6) for beams in (1, 3, 1, 2)]
    deltas: list[Delta] = list(backend.generate(requests))
    for index, request in enumerate(requests):
        together = [token for delta in deltas if delta.index == index for token in delta.token_ids]
        assert together == [token for delta in backend.generate([request]) for token in delta.token_ids]


def test_more_requests_than_a_batch_holds(model: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [model("t5").generate(prompt, max_tokens=4).token_ids for prompt in PROMPTS]
    monkeypatch.setattr(transformers_backend, "MOST_ROWS", 3)
    results = model("t5").generate(PROMPTS * 3, max_tokens=4)
    assert [result.token_ids for result in results] == expected * 3


def test_faults_in_the_backend_reach_the_caller(
    tiny: Callable[[str], Path], opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = opened(tiny("llama"))
    assert broken._parts.generator is not None
    backend: Any = broken._parts.generator.backend

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("kernel fault")

    monkeypatch.setattr(backend._model, "forward", fail)
    with pytest.raises(RuntimeError, match="kernel fault"):
        broken.generate("hi")


def test_bfloat16(tiny: Callable[[str], Path], opened: Open) -> None:
    half = opened(tiny("llama"), dtype="bf16")
    assert half.dtype == "bfloat16"
    deltas = list(half.stream("This is", max_tokens=5, temperature=0.5, seed=1))
    assert isinstance(deltas[-1], Delta)
    assert deltas[-1].finish_reason is not None
