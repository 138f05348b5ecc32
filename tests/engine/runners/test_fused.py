"""The fused runner against transformers: every architecture and variant, however the batch is cut."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
import transformers

from llmasos.engine.batch import Batch, SequenceSlice
from llmasos.engine.kernels import native
from llmasos.engine.runners.fused import FusedRunner
from llmasos.errors import InvalidRequest, Unsupported

SIZES = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
ROPE = {"rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
CONFIGURATIONS: dict[str, transformers.PretrainedConfig] = {
    "llama": transformers.LlamaConfig(**SIZES),
    "mqa-tied": transformers.LlamaConfig(**{**SIZES, "num_key_value_heads": 1}, tie_word_embeddings=True, head_dim=32),
    "mha": transformers.LlamaConfig(**{**SIZES, "num_key_value_heads": 4}),
    "uneven-intermediate": transformers.LlamaConfig(**{**SIZES, "intermediate_size": 100}),
    "rope-llama3": transformers.LlamaConfig(
        **SIZES, rope_parameters={**ROPE, "rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    ),
    "rope-yarn": transformers.LlamaConfig(**SIZES, rope_parameters={**ROPE, "rope_type": "yarn"}),
    "rope-linear": transformers.LlamaConfig(
        **SIZES, rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
    ),
    "biases": transformers.LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True),
    "mistral-window": transformers.MistralConfig(**SIZES, sliding_window=20),
    "qwen2": transformers.Qwen2Config(**SIZES),
    "qwen2-window": transformers.Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=20, max_window_layers=1),
    "qwen3": transformers.Qwen3Config(**SIZES, head_dim=32),
    "smollm3-nope": transformers.SmolLM3Config(
        **{**SIZES, "num_hidden_layers": 4}, pad_token_id=0, bos_token_id=1, eos_token_id=2
    ),
    "gemma3": transformers.Gemma3TextConfig(
        **{**SIZES, "num_hidden_layers": 7}, head_dim=32, query_pre_attn_scalar=32, sliding_window=20, pad_token_id=0
    ),
}
# Largest difference of a logit over the range of the logits. The references compute in fp32.
TOLERANCE = {"fp32": 1e-5, "bf16": 0.02, "int8": 0.06}
KERNELS = [("fp32", "torch"), ("bf16", "torch"), ("int8", "torch")]
if native.load() is not None:
    KERNELS += [("bf16", "native"), ("int8", "native")]
# The same between a cache in int8 and an exact one, everything else being equal.
CACHE_TOLERANCE = 0.04
PROMPT_LENGTHS = (100, 1, 37, 64)


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A folder with random weights, prompts, and the logits of transformers for them."""
    torch.manual_seed(0)
    reference = transformers.AutoModelForCausalLM.from_config(CONFIGURATIONS[request.param]).float().eval()
    for parameter in reference.parameters():  # larger weights, so that every part shows in the logits
        if parameter.dim() == 1:
            parameter.data += torch.randn_like(parameter) * 0.1
        else:
            parameter.data *= 3
    folder = tmp_path_factory.mktemp("model")
    reference.save_pretrained(folder)
    prompts = [torch.randint(3, 320, (length,)).tolist() for length in PROMPT_LENGTHS]
    with torch.no_grad():
        expected = [reference(torch.tensor([prompt])).logits[0] for prompt in prompts]
    return folder, prompts, expected


def logits(runner: FusedRunner, prompts: list[list[int]], chunks: list[list[int]]) -> list[torch.Tensor]:
    """Logits at every position, the prompts fed in the chunks given (repeated as needed), all in shared batches."""
    runner.allocate_cache(64)
    tables, used = [], 0
    for prompt in prompts:
        count = -(-len(prompt) // 16)
        tables.append(list(range(used + count - 1, used - 1, -1)))  # backwards: nothing may rely on the order
        used += count
    done, outputs, step = [0] * len(prompts), [[] for _ in prompts], 0
    while any(at < len(prompt) for at, prompt in zip(done, prompts, strict=True)):
        tokens, positions, slices = [], [], []
        for index, prompt in enumerate(prompts):
            length = min(chunks[index][step % len(chunks[index])], len(prompt) - done[index])
            if length == 0:
                continue
            end = done[index] + length
            slices.append(SequenceSlice(len(tokens), length, done[index], tables[index][: -(-end // 16)], None, index))
            tokens += prompt[done[index] : end]
            positions += range(done[index], end)
            done[index] = end
        rows = torch.arange(len(tokens))
        out = runner.forward(Batch(torch.tensor(tokens), torch.tensor(positions), slices, rows))
        for piece in slices:
            outputs[piece.sequence_id].append(out[piece.start : piece.start + piece.length].clone())
        step += 1
    return [torch.cat(parts) for parts in outputs]


WHOLE = [[1000]] * 4
CHUNKED = [[1], [5], [16, 3], [7]]


@pytest.mark.parametrize(("precision", "kernels"), KERNELS)
def test_logits_equal_those_of_transformers(model, precision: str, kernels: str) -> None:
    folder, prompts, expected = model
    runner = FusedRunner(folder, precision=precision, kernels=kernels)
    assert runner.decoder.kernels == kernels
    span = max(float(item.max() - item.min()) for item in expected)
    whole = logits(runner, prompts, WHOLE)
    for got, want in zip(whole, expected, strict=True):
        assert float((got - want).abs().max()) / span < TOLERANCE[precision]
    chunked = logits(runner, prompts, CHUNKED)
    if kernels == "native":  # each row is computed alone: how the batch is cut changes not one bit
        assert all(torch.equal(a, b) for a, b in zip(chunked, whole, strict=True))
    for got, want in zip(chunked, expected, strict=True):
        assert float((got - want).abs().max()) / span < TOLERANCE[precision]
    runner.close()


@pytest.mark.parametrize(("precision", "kernels"), KERNELS)
def test_an_int8_cache_changes_logits_little(model, precision: str, kernels: str) -> None:
    folder, prompts, expected = model
    exact = FusedRunner(folder, precision=precision, kernels=kernels)
    runner = FusedRunner(folder, precision=precision, kernels=kernels, cache_dtype="int8")
    assert runner.cache_dtype == "int8" and "int8 cache" in runner.description
    assert runner.bytes_per_block < 0.7 * exact.bytes_per_block  # a scale weighs much beside heads of 16
    span = max(float(item.max() - item.min()) for item in expected)
    whole, chunked = logits(runner, prompts, WHOLE), logits(runner, prompts, CHUNKED)
    if kernels == "native":
        assert all(torch.equal(a, b) for a, b in zip(chunked, whole, strict=True))
    for got, cut, want in zip(whole, chunked, logits(exact, prompts, WHOLE), strict=True):
        assert 0 < float((got - want).abs().max()) / span < CACHE_TOLERANCE
        assert float((cut - want).abs().max()) / span < CACHE_TOLERANCE
    exact.close()
    runner.close()


@pytest.mark.skipif(native.load() is None, reason="the native kernels do not run here")
def test_int4_follows_the_model(model) -> None:
    folder, prompts, expected = model
    runner = FusedRunner(folder, precision="int4")
    whole, chunked = logits(runner, prompts, WHOLE), logits(runner, prompts, CHUNKED)
    assert all(torch.equal(a, b) for a, b in zip(chunked, whole, strict=True))
    # Random weights are the worst case for four bits; the direction must still be plain.
    for got, want in zip(whole, expected, strict=True):
        assert torch.cosine_similarity(got.flatten(), want.flatten(), 0) > 0.9
    runner.close()


def test_copied_blocks_hold_the_same_keys_and_values(model) -> None:
    folder, prompts, _ = model
    for (precision, kernels), cache_dtype in itertools.product(KERNELS, (None, "int8")):
        runner = FusedRunner(folder, precision=precision, kernels=kernels, cache_dtype=cache_dtype)
        runner.allocate_cache(20)
        prompt = prompts[0]

        def forward(begin: int, end: int, blocks: list[int], runner=runner, prompt=prompt) -> torch.Tensor:
            piece = SequenceSlice(0, end - begin, begin, blocks, None, 0)
            rows = torch.arange(end - begin)
            return runner.forward(
                Batch(torch.tensor(prompt[begin:end]), torch.arange(begin, end), [piece], rows)
            ).clone()

        forward(0, 99, list(range(7)))
        straight = forward(99, 100, list(range(7)))
        for block in range(7):
            runner.copy_block(block, block + 10)
        runner.decoder.copy_block(0, 19)
        assert torch.equal(forward(99, 100, list(range(10, 17))), straight)
        runner.close()


def test_unsupported_options_are_named(tmp_path: Path) -> None:
    config = transformers.LlamaConfig(**SIZES, rope_parameters={**ROPE, "rope_type": "dynamic"})
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(Unsupported, match="rope_type = dynamic"):
        FusedRunner(tmp_path)


def test_unknown_precision_suggests(tmp_path: Path) -> None:
    transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**SIZES)).save_pretrained(tmp_path)
    with pytest.raises(InvalidRequest, match="'int9' is not a precision") as caught:
        FusedRunner(tmp_path, precision="int9")
    assert "int8" in (caught.value.hint or "")
    with pytest.raises(InvalidRequest, match="'int4' is not a format of the key-value cache"):
        FusedRunner(tmp_path, cache_dtype="int4")
