"""Log-likelihoods of continuations against transformers, with contexts shared through the cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from llmasos.engine.engine import Engine
from llmasos.engine.options import EngineOptions
from llmasos.engine.runners.fused import FusedRunner
from llmasos.engine.scoring import score
from llmasos.errors import ContextLengthExceeded, InvalidRequest


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[transformers.PreTrainedModel, Path]:
    torch.manual_seed(0)
    config = transformers.Qwen2Config(
        vocab_size=200, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data *= 4
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    return model, folder


def test_scores_equal_transformers_and_share_contexts(model) -> None:
    reference, folder = model
    torch.manual_seed(1)
    contexts = [torch.randint(3, 200, (length,)).tolist() for length in (1, 50, 80)]
    pairs = [(context, torch.randint(3, 200, (length,)).tolist()) for context in contexts for length in (1, 4, 9)]
    with torch.no_grad():
        step = reference(torch.tensor([contexts[1]])).logits[0, -1].argmax().item()
    pairs.append((contexts[1], [step]))
    engine = Engine(
        FusedRunner(folder, precision="fp32"), options=EngineOptions(cache_bytes=4 << 20, max_batch_tokens=32)
    )
    scores = score(engine, pairs)
    for (context, continuation), found in zip(pairs, scores, strict=True):
        with torch.no_grad():
            logits = reference(torch.tensor([context + continuation])).logits[0, len(context) - 1 : -1]
        expected = logits.log_softmax(-1)[torch.arange(len(continuation)), continuation]
        assert found.logprobs == pytest.approx(expected.tolist(), abs=1e-3)
        assert found.total == pytest.approx(float(expected.sum()), abs=5e-3)
        assert found.greedy == (logits.argmax(-1).tolist() == continuation)
    assert scores[-1].greedy
    assert engine.stats().cached_tokens >= 3 * 48  # three of the four continuations of the second context found it
    engine.close()


def test_empty_and_oversized_pairs_are_refused(model) -> None:
    engine = Engine(FusedRunner(model[1], precision="fp32"), options=EngineOptions(cache_bytes=4 << 20))
    with pytest.raises(InvalidRequest, match="pair 1: the context is empty"):
        score(engine, [([3], [4]), ([], [4])])
    with pytest.raises(InvalidRequest, match="pair 0: the continuation is empty"):
        score(engine, [([3], [])])
    with pytest.raises(ContextLengthExceeded):
        score(engine, [([3] * 100, [4] * 50)])
    engine.close()
