from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

import llmasos
import tiny_models
from evaluation_cases import choice_task, generation_task, perplexity_task
from llmasos.evaluation.options import RunOptions
from llmasos.evaluation.periodic import evaluate_module
from llmasos.modeling.folder import ModelFolder
from llmasos.modeling.tokenizer_files import load_chat_template, load_tokenizer


def test_a_module_scores_as_the_model_that_is_made_of_it(tmp_path: Path, home: Path) -> None:
    path = tiny_models.build("llama", tmp_path / "llama")
    module = transformers.LlamaForCausalLM.from_pretrained(path, dtype=torch.float32)
    module.train()
    module.model.layers[0].eval()  # frozen, say
    folder = ModelFolder.open(path)
    tokenizer = load_tokenizer(folder)
    tasks = [choice_task(tmp_path, few_shot={"count": 1}), perplexity_task(tmp_path), generation_task(tmp_path)]
    state = torch.get_rng_state()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found = [
        evaluate_module(
            task, module, tokenizer, context_length=256, template=load_chat_template(folder, tokenizer),
            options=RunOptions(limit=5),
        )
        for task in tasks
    ]  # fmt: skip
    assert torch.equal(torch.get_rng_state(), state)
    assert module.training and not module.model.layers[0].training and module.model.layers[1].training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert not home.exists(), "nothing is written"
    for task, ours in zip(tasks, found, strict=True):
        (theirs,) = llmasos.evaluate(
            path, tmp_path / f"{task.task.name}.yaml", limit=5, dtype="float32", output=tmp_path / "out"
        )
        assert ours.folder is None
        assert ours.evaluation.counts == theirs.evaluation.counts
        assert ours.evaluation.data_digest == theirs.evaluation.data_digest
        for here, there in zip(ours.records, theirs.records, strict=True):
            assert (here.prompt, here.output, here.status) == (there.prompt, there.output, there.status)
            if here.choice_logprobs is not None:
                assert here.choice_logprobs == pytest.approx(there.choice_logprobs, abs=1e-3)
            if here.loglikelihood is not None:
                assert here.loglikelihood == pytest.approx(there.loglikelihood, abs=1e-3)
