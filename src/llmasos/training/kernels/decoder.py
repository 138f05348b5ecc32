"""Decoders of the Llama family, run by :mod:`llmasos.training.kernels.layer` instead of by the module's own forward.

The module stays as it is: its weights and those that PEFT put beside them are looked up and computed with. Where a
module has anything that is not known here, :func:`fast_states` gives ``None`` and the module's own forward is used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from llmasos.training.kernels.layer import Layer, Setting, run_layer
from llmasos.training.kernels.projection import Projection

_BODIES = frozenset({"LlamaModel", "MistralModel", "Qwen2Model"})
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
_FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")


def fast_states(body: nn.Module, ids: Tensor, positions: Tensor, lengths: tuple[int, ...]) -> Tensor | None:
    """The states of the last layer before the last normalisation, (T, width); ``None`` if the body is not known.

    Args:
        ids, positions: (1, T), documents one after the other.
        lengths: of the documents, in order.
    """
    model: Any = body
    if not _known(model, lengths):
        return None
    layers = [_layer(item) for item in model.layers[: model.config.num_hidden_layers]]
    if any(layer is None for layer in layers):
        return None
    embedded = model.embed_tokens(ids)
    cos, sin = model.rotary_emb(embedded, position_ids=positions)
    attention = model.layers[0].self_attn
    half = attention.head_dim // 2
    if cos.shape[-1] != attention.head_dim or not _alike(embedded.dtype, layers):
        return None
    setting = Setting(
        cos[0, :, :half].contiguous(),
        sin[0, :, :half].contiguous(),
        lengths,
        attention.head_dim,
        float(attention.scaling),
        float(model.layers[0].input_layernorm.variance_epsilon),
        recompute=bool(getattr(model, "gradient_checkpointing", False)) and model.training,
    )
    states: Tensor = embedded[0]
    for layer in layers:
        assert layer is not None
        states = run_layer(states, layer, setting)
    return states


def _known(model: Any, lengths: tuple[int, ...]) -> bool:
    if type(model).__name__ not in _BODIES or not type(model).__module__.startswith("transformers."):
        return False
    config = model.config
    window = getattr(config, "sliding_window", None)
    return (
        model.embed_tokens.weight.device.type == "cpu"
        and config.hidden_act == "silu"
        and not (model.training and config.attention_dropout)
        and (window is None or max(lengths) <= window)
        and not torch.is_autocast_enabled("cpu")
        and not _hooked(model)
        and not _hooked(model.norm)
    )


def _hooked(module: nn.Module) -> bool:
    """Whether calling a module does more, or other things, than its class says."""
    compiled = getattr(module, "_compiled_call_impl", None) is not None
    return compiled or bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def _layer(item: Any) -> Layer | None:
    """The weights of a layer; ``None`` if there is something in it that is not known."""
    modules = [item, item.self_attn, item.mlp, item.input_layernorm, item.post_attention_layernorm]
    if any(_hooked(module) for module in modules):
        return None
    projections = [
        *(_projection(getattr(item.self_attn, name)) for name in _PROJECTIONS),
        *(_projection(getattr(item.mlp, name)) for name in _FEED_FORWARD),
    ]
    known = [projection for projection in projections if projection is not None]
    if len(known) < len(projections):
        return None
    return Layer(item.input_layernorm.weight, item.post_attention_layernorm.weight, tuple(known))


def _projection(module: Any) -> Projection | None:
    if _hooked(module):
        return None
    if type(module) is nn.Linear:
        return Projection(module.weight, module.bias)
    if not type(module).__module__.startswith("peft.tuners.lora.") or type(module).__name__ != "Linear":
        return None
    base = module.base_layer
    active = module.active_adapters
    if type(base) is not nn.Linear or _hooked(base) or len(active) != 1 or module.merged or module.disable_adapters:
        return None
    name = active[0]
    if name not in module.lora_A:
        return Projection(base.weight, base.bias)
    a, b, dropout = module.lora_A[name], module.lora_B[name], module.lora_dropout[name]
    plain = type(a) is nn.Linear and type(b) is nn.Linear and a.bias is None and b.bias is None
    if not plain or module.lora_variant or _hooked(a) or _hooked(b):
        return None
    if not isinstance(dropout, nn.Identity) and module.training and dropout.p:
        return None
    return Projection(base.weight, base.bias, a.weight, b.weight, float(module.scaling[name]))


def _alike(dtype: torch.dtype, layers: list[Layer | None]) -> bool:
    """Whether all weights have the number format of the states."""
    return all(
        tensor is None or tensor.dtype == dtype
        for layer in layers
        if layer is not None
        for tensor in (
            layer.first_norm,
            layer.second_norm,
            *(part for item in layer.projections for part in item.tensors()),
        )
    )
