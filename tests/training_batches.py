"""Batches of random documents, and small models of transformers with weights large enough to tell right from wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers

from llmasos.data.batches import Batch, collate
from llmasos.data.packing import join
from llmasos.data.rendering.sample import RenderedSample

VOCABULARY = 90
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 64,
}  # fmt: skip


def document(length: int, seed: int, *, learned: float = 0.6) -> RenderedSample:
    """A document of random tokens, some of which are learned, the first never."""
    chance = np.random.default_rng(seed)
    trained = chance.random(length) < learned
    trained[0] = False
    return RenderedSample(chance.integers(3, VOCABULARY, length).astype(np.int32), trained)


def documents(lengths: Sequence[int] = (7, 20, 3, 12, 1, 9, 15, 5)) -> list[RenderedSample]:
    return [document(length, seed) for seed, length in enumerate(lengths)]


def unpacked(samples: Sequence[RenderedSample], padding_id: int = 0) -> Batch:
    """One document a row."""
    return collate(samples, padding_id=padding_id)


def packed(samples: Sequence[RenderedSample]) -> Batch:
    """All documents in one row."""
    return collate([join(samples)], padding_id=0)


def loud(model: Any, seed: int = 0) -> Any:
    """The model in float64 with weights that make every part of it matter, without dropout."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        spread = 0.3 if parameter.ndim > 1 else 0.1
        values = torch.randn(parameter.shape, generator=generator) * spread
        parameter.data = (values + (1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0)).double()
    for layer in model.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    return model.double().train()


def llama(**changes: Any) -> Any:
    config = transformers.LlamaConfig(**{**SIZES, "num_key_value_heads": 2, **changes})
    return loud(transformers.LlamaForCausalLM(config))


def qwen2(**changes: Any) -> Any:
    """With biases of query, key and value, and tied embeddings."""
    config = transformers.Qwen2Config(**{**SIZES, "num_key_value_heads": 2, "tie_word_embeddings": True, **changes})
    return loud(transformers.Qwen2ForCausalLM(config))


def gemma3(**changes: Any) -> Any:
    """Windows of 6 tokens in every second layer."""
    config = transformers.Gemma3TextConfig(
        **SIZES, num_key_value_heads=2, head_dim=8, sliding_window=6,
        layer_types=["sliding_attention", "full_attention"], **changes,
    )  # fmt: skip
    return loud(transformers.Gemma3ForCausalLM(config))


def gpt2(**changes: Any) -> Any:
    """Learned absolute positions."""
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, **changes,
    )  # fmt: skip
    return loud(transformers.GPT2LMHeadModel(config))


DECODERS = {"llama": llama, "qwen2": qwen2, "gemma3": gemma3, "gpt2": gpt2}


def gradients(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The gradients by name, and none are left."""
    found = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    module.zero_grad(set_to_none=True)
    return found


def assert_alike(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], *, tolerance: float = 1e-6) -> None:
    """The same names, and values that differ by at most ``tolerance`` of the largest of all."""
    assert first.keys() == second.keys()
    assert first
    largest = max(float(value.abs().max()) for value in second.values())
    for name, value in first.items():
        bound = tolerance * max(float(second[name].abs().max()), 1e-3 * largest)
        assert float((value - second[name]).abs().max()) <= bound, name
