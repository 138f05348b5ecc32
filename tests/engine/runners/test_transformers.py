"""Any causal model through transformers' attention interface: the same logits, or a refusal when it is loaded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import transformers

from llmasos.engine.batch import Batch, SequenceSlice
from llmasos.engine.runners.transformers import TransformersRunner
from llmasos.errors import Unsupported

SIZES = {
    "vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip
TAKEN: dict[str, Callable[[], transformers.PretrainedConfig]] = {
    "gpt2": lambda: transformers.GPT2Config(vocab_size=300, n_embd=64, n_layer=3, n_head=4, n_positions=128),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(
        vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=128,
    ),
    "phi3": lambda: transformers.Phi3Config(**SIZES, pad_token_id=0),
    "gemma2-softcap-window": lambda: transformers.Gemma2Config(
        **SIZES, head_dim=16, query_pre_attn_scalar=16, sliding_window=20, attn_logit_softcapping=5.0, pad_token_id=0
    ),
    "olmo2": lambda: transformers.Olmo2Config(**SIZES, pad_token_id=0),
    "rope-dynamic": lambda: transformers.LlamaConfig(
        **SIZES, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    ),
}  # fmt: skip
REFUSED: dict[str, Callable[[], transformers.PretrainedConfig]] = {
    "mamba": lambda: transformers.MambaConfig(vocab_size=300, hidden_size=64, num_hidden_layers=2, state_size=8),
    "bloom-alibi": lambda: transformers.BloomConfig(vocab_size=300, hidden_size=64, n_layer=2, n_head=4),
}


def build(make: Callable[[], transformers.PretrainedConfig]) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(make()).float().eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data *= 3
    return model


# Norm of the difference over the norm of the logits.
TOLERANCE = {"auto": 1e-4, "int8": 0.04}


@pytest.mark.parametrize("cache_dtype", TOLERANCE)
@pytest.mark.parametrize("name", TAKEN)
def test_logits_equal_the_models_own_in_any_batch(name: str, cache_dtype: str) -> None:
    model = build(TAKEN[name])
    prompts = [torch.randint(3, 300, (length,)).tolist() for length in (50, 9, 33)]
    with torch.no_grad():
        expected = [model(torch.tensor([prompt]), use_cache=False).logits[0] for prompt in prompts]
    runner = TransformersRunner(model, context_length=128, name=name, cache_dtype=cache_dtype)
    assert runner.cache_dtype == {"auto": "float32"}.get(cache_dtype, cache_dtype)
    runner.allocate_cache(16)
    tables = [[0, 2, 4, 6], [8], [1, 3, 5]]
    # Prefill of all, cut differently; the last five tokens one by one, all sequences in one batch.
    for begin, end in ((0, 4), *((step, step + 1) for step in range(4, 9))):
        tokens, positions, pieces, want = [], [], [], []
        for index, prompt in enumerate(prompts):
            first = 0 if begin == 0 else len(prompt) - 9 + begin
            last = len(prompt) - 9 + end
            pieces.append(SequenceSlice(len(tokens), last - first, first, tables[index], None, index))
            tokens += prompt[first:last]
            positions += range(first, last)
            want.append(expected[index][first:last])
        rows = torch.arange(len(tokens))
        logits = runner.forward(Batch(torch.tensor(tokens), torch.tensor(positions), pieces, rows))
        reference = torch.cat(want)
        assert float((logits - reference).norm() / reference.norm()) < TOLERANCE[cache_dtype]
    runner.close()


@pytest.mark.parametrize("name", REFUSED)
def test_models_that_the_interface_cannot_carry_are_refused(name: str) -> None:
    with pytest.raises(Unsupported, match="does not fit the engine's paged attention"):
        TransformersRunner(build(REFUSED[name]), context_length=128, name=name)
