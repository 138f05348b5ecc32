"""Log-likelihoods of continuations against transformers, with contexts shared through the cache."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import transformers

from llmasos.engine.engine import Engine
from llmasos.engine.options import EngineOptions
from llmasos.engine.runners.fused import FusedRunner
from llmasos.engine.scoring import score, score_texts
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


def expected_of(reference: transformers.PreTrainedModel, context: list[int], text: list[int]) -> list[float]:
    with torch.no_grad():
        logits = reference(torch.tensor([context + text])).logits[0, len(context) - 1 : -1]
    return logits.log_softmax(-1)[torch.arange(len(text)), text].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(("window", "overlap"), [(None, 1), (40, 1), (40, 25), (8, 7)])
def test_long_texts_are_scored_in_windows_every_token_once(model, window: int | None, overlap: int) -> None:
    reference, folder = model
    torch.manual_seed(2)
    texts = [torch.randint(3, 200, (length,)).tolist() for length in (1, 39, 40, 128, 301)]
    with Engine(FusedRunner(folder, precision="fp32"), options=EngineOptions(cache_bytes=8 << 20)) as engine:
        scores = score_texts(engine, texts, begin_id=2, window=window, overlap=overlap)
    size = window or 128
    for text, found in zip(texts, scores, strict=True):
        expected: list[float] = []
        whole = [2, *text]
        while len(expected) < len(text):
            done = len(expected) + 1
            context = whole[max(done - overlap, 0) : done]
            expected += expected_of(reference, context, whole[done : done + size - len(context)])
        assert found.logprobs == pytest.approx(expected, abs=1e-3)
        assert found.perplexity == pytest.approx(math.exp(-sum(expected) / len(text)), rel=1e-3)
        assert found.truncated_tokens == 0


def test_without_a_begin_token_the_first_token_is_context(model) -> None:
    reference, folder = model
    with Engine(FusedRunner(folder, precision="fp32"), options=EngineOptions(cache_bytes=8 << 20)) as engine:
        text = [7, 8, 9, 10]
        (found,) = score_texts(engine, [text], begin_id=None)
        assert found.logprobs == pytest.approx(expected_of(reference, text[:1], text[1:]), abs=1e-3)
        with pytest.raises(InvalidRequest, match="text 1 has no token to score"):
            score_texts(engine, [text, [5]], begin_id=None)
        with pytest.raises(InvalidRequest, match="overlap = 16"):
            score_texts(engine, [text], begin_id=2, window=16, overlap=16)
        with pytest.raises(ContextLengthExceeded, match="window = 129"):
            score_texts(engine, [text], begin_id=2, window=129)


def test_a_long_context_may_lose_its_beginning(model) -> None:
    reference, folder = model
    torch.manual_seed(3)
    context, text = torch.randint(3, 200, (150,)).tolist(), torch.randint(3, 200, (20,)).tolist()
    with Engine(FusedRunner(folder, precision="fp32"), options=EngineOptions(cache_bytes=8 << 20)) as engine:
        first, second = score(engine, [(context, text), ([5], text)], truncate_context=True)
        assert (first.truncated_tokens, second.truncated_tokens) == (42, 0)
        assert first.logprobs == pytest.approx(expected_of(reference, context[42:], text), abs=1e-3)
        with pytest.raises(ContextLengthExceeded):
            score(engine, [([5], [6] * 128)], truncate_context=True)
