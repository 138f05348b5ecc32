"""Attention within documents that stand one after the other in a row, without a mask and without padding.

transformers lets attention be chosen by name. Under the name :data:`NAME`, a call that brings the lengths of documents
computes each by itself, so that nothing is computed between documents; any other call is torch's attention with the
mask that transformers makes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmasos.training.kernels.attention import attend
from llmasos.training.kernels.groups import groups_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "llmasos_documents"
LENGTHS = "document_lengths"
"""The keyword that brings the lengths through the layers of a model."""


def use_document_attention(module: PreTrainedModel) -> bool:
    """Choose this attention for a model; ``False`` if its attention cannot be chosen."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if not getattr(module, "_supports_attention_backend", False) or not getattr(module, "_supports_sdpa", False):
        return False
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    module.set_attn_implementation(NAME)
    return True


def no_mask(device: torch.device) -> Tensor:
    """What a model is given as its mask: transformers hands a mask of four dimensions on as it is."""
    return torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it: (batch, heads, tokens, dim) to (batch, tokens, heads, dim)."""
    lengths = kwargs.pop(LENGTHS, None)
    if lengths is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        assert attention_mask is None or attention_mask.shape[-1] == key.shape[2], "lengths of documents got lost"
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return output, None
    assert query.shape[0] == 1 and query.shape[2] == key.shape[2] == sum(lengths)
    assert all(kwargs.get(name) is None for name in ("s_aux", "position_bias", "softcap"))
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    output = document_attention(
        query[0], key[0], value[0], lengths,
        scaling=scaling, dropout=dropout, causal=causal, window=sliding_window,
    )  # fmt: skip
    return output.transpose(0, 1)[None], None


def document_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: tuple[int, ...],
    *,
    scaling: float | None,
    causal: bool,
    dropout: float = 0.0,
    window: int | None = None,
) -> Tensor:
    """Attention within each document.

    Args:
        query: (heads, tokens, dim); key, value: (kv heads, tokens, dim).
        lengths: of the documents, in order.
        window: how many tokens back are seen, the token itself included; ``None``: all. Encoders see as many ahead.

    Returns:
        (heads, tokens, value dim).
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    windowed = window is not None and max(lengths) > window
    if query.device.type == "cpu" and not (dropout or windowed) and query.shape[-1] == value.shape[-1]:
        queries, keys, values = (tensor.transpose(0, 1) for tensor in (query, key, value))
        return attend(queries, keys, values, lengths, scaling=scale, causal=causal).transpose(0, 1)
    shared = query.shape[0] != key.shape[0]
    rows = [tensor.transpose(0, 1) for tensor in (query, key, value)]  # (tokens, heads, dim)
    output = rows[0].new_empty(*rows[0].shape[:2], value.shape[-1])
    for group in groups_of(lengths, query.device):
        q, k, v = (group.take(row).transpose(1, 2) for row in rows)
        mask = None
        if window is not None and group.length > window:
            mask = _band(group.length, window, causal, query.device)
        if group.real is not None and not causal:  # else padding comes after what looks back
            real = group.real[:, None, None]
            mask = real if mask is None else mask & real
        found = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal and mask is None, scale=scale,
            enable_gqa=shared,
        )  # fmt: skip
        group.put(found.transpose(1, 2), output)
    return output.transpose(0, 1)


def _band(length: int, window: int, causal: bool, device: torch.device) -> Tensor:
    """(length, length) True where a token sees another."""
    places = torch.arange(length, device=device)
    distance = places[:, None] - places[None, :]
    return (distance >= 0) & (distance < window) if causal else distance.abs() < window
