"""A small real model by name on tasks with their own sample rows, and against transformers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import llmasos
from llmasos.evaluation.backends.open import backend_of
from llmasos.evaluation.backends.protocol import Continue
from llmasos.evaluation.options import RunOptions
from llmasos.evaluation.prepare import prepare
from llmasos.evaluation.tasks.find import find
from llmasos.library.store import Library

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

MODEL = "smollm2:135m-instruct"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    opened = Library(tmp_path_factory.mktemp("real") / "home")
    yield opened
    opened.close()


def test_tasks_of_every_kind_that_the_model_can_do(library: Library, tmp_path: Path) -> None:
    names = ["arc-easy", "gsm8k", "sst2", "wikitext-2", "lambada", "scitldr", "humaneval", "cmmlu"]
    done = llmasos.evaluate(MODEL, names, sample=True, library=library, output=tmp_path, max_tokens=64)
    assert [item.evaluation.task for item in done] == names
    for item in done:
        assert item.evaluation.counts.get("error", 0) == 0, item.evaluation.notes
        assert item.evaluation.scores
        assert item.version is not None
    perplexity = next(item for item in done if item.evaluation.task == "wikitext-2").evaluation.scores["perplexity"]
    assert 1 < perplexity.value < 200


def test_log_probabilities_equal_transformers(library: Library) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with llmasos.load(MODEL, dtype="float32", library=library) as model:
        backend = backend_of(model)
        prepared = prepare(find("arc-easy"), backend, RunOptions(sample=True, few_shot=2))
        calls = [call for sample in prepared.samples for call in prepared.judge.calls(sample)]
        ours = dict(backend.run(calls))
    folder = library.view(library.resolve(MODEL))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    theirs: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert len(calls) > 8
    for index, call in enumerate(calls):
        assert isinstance(call, Continue)
        context = tokenizer(call.prompt.text)["input_ids"]
        whole = tokenizer(call.prompt.text + call.continuation)["input_ids"]
        with torch.inference_mode():
            logprobs = theirs(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
        total = sum(float(logprobs[place - 1, whole[place]]) for place in range(len(context), len(whole)))
        assert ours[index].logprob == pytest.approx(total, abs=1e-2)
