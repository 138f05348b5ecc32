"""Tiny configurations of every decoder family and attention variant that the fused runner takes."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers

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


def random_model(name: str, folder: Path) -> transformers.PreTrainedModel:
    """The configuration ``name`` with random weights, saved in ``folder``; large ones, so that every part shows."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(CONFIGURATIONS[name]).float().eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += torch.randn_like(parameter) * 0.1
        else:
            parameter.data *= 3
    model.save_pretrained(folder)
    return model
