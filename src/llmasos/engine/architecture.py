"""What the fused decoders need to know of a model, read from its ``config.json``.

One family covers Llama, Mistral, Qwen2, Qwen3, SmolLM2, SmolLM3 and Gemma 3 (text): pre-norm decoders with RMS norms,
rotary positions, grouped-query attention and a gated MLP. The differences are data here, not code paths.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from llmasos.errors import Unsupported
from llmasos.i18n import t

if TYPE_CHECKING:
    import torch

Activation = Literal["silu", "gelu_tanh"]
MODEL_TYPES = ("gemma3_text", "llama", "mistral", "qwen2", "qwen3", "smollm3")
_ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}
_ROPE_TYPES = ("default", "linear", "llama3", "yarn")


@dataclass(frozen=True)
class RotaryEmbedding:
    """Frequencies of one kind of rotary embedding: ``inverse_frequencies`` (rotary_dim / 2,) float32."""

    inverse_frequencies: torch.Tensor
    scaling: float

    def tables(self, positions: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines, each (positions, rotary_dim / 2) float32."""
        import torch

        angles = torch.arange(positions, dtype=torch.float32)[:, None] * self.inverse_frequencies[None, :]
        return angles.cos() * self.scaling, angles.sin() * self.scaling


@dataclass(frozen=True)
class LayerSpec:
    """How one layer differs from the others."""

    window: int
    """Keys a query may look back on, itself included; 0: all."""
    rope: str | None
    """Key of :attr:`DecoderSpec.ropes`; ``None``: no positional embedding in this layer (NoPE)."""


@dataclass(frozen=True)
class DecoderSpec:
    """Shape and conventions of a decoder-only model."""

    model_type: str
    layers: tuple[LayerSpec, ...]
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context_length: int
    epsilon: float
    activation: Activation
    attention_scale: float
    embedding_scale: float
    tied_embeddings: bool
    query_key_norm: bool
    branch_norms: bool
    """Norms on the results of attention and MLP before they join the residual stream (Gemma)."""
    norm_offset: float
    """Added to every norm weight (Gemma stores weight - 1)."""
    ropes: dict[str, RotaryEmbedding]


def read_spec(directory: Path) -> DecoderSpec:
    """Read ``config.json`` of a model folder.

    Raises:
        Unsupported: the model is not of this family, or uses an option of it that the fused decoders lack; the message
            names the option, and the transformers runner takes the model instead.
    """
    plain = _plain_config(json.loads((directory / "config.json").read_text(encoding="utf-8")))
    if plain is not None:
        return spec_of(plain)
    from transformers import AutoConfig

    return spec_of(AutoConfig.from_pretrained(directory, local_files_only=True))


_PLAIN_KEYS = (
    *("hidden_act", "hidden_size", "intermediate_size", "max_position_embeddings", "num_attention_heads"),
    *("num_hidden_layers", "num_key_value_heads", "rms_norm_eps", "tie_word_embeddings", "vocab_size"),
)


def _plain_config(config: dict[str, Any]) -> SimpleNamespace | None:
    """A configuration that says all that matters itself; ``None`` if the defaults of transformers have to fill it in.

    Importing transformers costs a second, which most models need not pay.
    """
    if config.get("model_type") not in ("llama", "qwen2", "qwen3") or any(key not in config for key in _PLAIN_KEYS):
        return None
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = rope.get("rope_theta", config.get("rope_theta"))
    kind = rope.get("rope_type", rope.get("type", "default"))
    if theta is None or kind != "default" or rope.get("partial_rotary_factor", 1.0) != 1.0:
        return None
    if config.get("use_sliding_window") or (config["model_type"] == "qwen3" and "head_dim" not in config):
        return None
    layer_types = config.get("layer_types")
    if layer_types and set(layer_types) != {"full_attention"}:
        return None
    return SimpleNamespace(**{**config, "sliding_window": None, "layer_types": None,
                              "rope_parameters": {"rope_type": "default", "rope_theta": theta}})  # fmt: skip


def _refuse(option: str, value: object) -> Unsupported:
    return Unsupported(
        t("the fused decoder does not support {option} = {value}", option=option, value=value),
        hint=t("The transformers runner takes such models."),
    )


def spec_of(config: Any) -> DecoderSpec:
    """The specification of a transformers configuration; see :func:`read_spec`."""
    kind = config.model_type
    if kind not in MODEL_TYPES:
        raise _refuse("model_type", kind)
    activation_name = getattr(config, "hidden_act", None) or getattr(config, "hidden_activation", None)
    if activation_name not in _ACTIVATIONS:
        raise _refuse("hidden_act", activation_name)
    for option in ("final_logit_softcapping", "attn_logit_softcapping", "use_bidirectional_attention"):
        if getattr(config, option, None):
            raise _refuse(option, getattr(config, option))
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if head_dim % 16 or head_dim > 256:
        raise _refuse("head_dim", head_dim)
    gemma = kind == "gemma3_text"
    scale = config.query_pre_attn_scalar**-0.5 if gemma else head_dim**-0.5
    ropes = _ropes(config, head_dim)
    return DecoderSpec(
        model_type=kind,
        layers=tuple(_layer(config, index, ropes) for index in range(config.num_hidden_layers)),
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=head_dim,
        vocabulary=config.vocab_size,
        context_length=config.max_position_embeddings,
        epsilon=config.rms_norm_eps,
        activation=_ACTIVATIONS[activation_name],
        attention_scale=scale,
        embedding_scale=config.hidden_size**0.5 if gemma else 1.0,
        tied_embeddings=bool(config.tie_word_embeddings),
        query_key_norm=kind in ("qwen3", "gemma3_text"),
        branch_norms=gemma,
        norm_offset=1.0 if gemma else 0.0,
        ropes=ropes,
    )


def _layer(config: Any, index: int, ropes: dict[str, RotaryEmbedding]) -> LayerSpec:
    layer_types = getattr(config, "layer_types", None)
    layer_type = layer_types[index] if layer_types else None
    if layer_type not in (None, "full_attention", "sliding_attention"):
        raise _refuse("layer_types", layer_type)
    sliding = layer_type == "sliding_attention" if layer_types else True
    window = (getattr(config, "sliding_window", None) or 0) if sliding else 0
    no_rope = getattr(config, "no_rope_layers", None)
    if no_rope and not no_rope[index]:
        return LayerSpec(window, None)
    return LayerSpec(window, layer_type if layer_type in ropes else "default")


def _ropes(config: Any, head_dim: int) -> dict[str, RotaryEmbedding]:
    parameters = config.rope_parameters
    if "rope_type" in parameters or "rope_theta" in parameters:
        return {"default": _rope(config, parameters, head_dim, None)}
    return {
        name: _rope(config, own, head_dim, name)
        for name, own in parameters.items()
        if name in set(config.layer_types or ())
    }


def _rope(config: Any, parameters: dict[str, Any], head_dim: int, layer_type: str | None) -> RotaryEmbedding:
    import torch

    kind = parameters.get("rope_type", "default")
    if kind not in _ROPE_TYPES:
        raise _refuse("rope_type", kind)
    if parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise _refuse("partial_rotary_factor", parameters["partial_rotary_factor"])
    if kind == "default":
        exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
        return RotaryEmbedding(1.0 / (parameters["rope_theta"] ** exponents), 1.0)
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    extra = {} if layer_type is None else {"layer_type": layer_type}
    frequencies, scaling = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), **extra)
    return RotaryEmbedding(frequencies.float(), float(scaling))
