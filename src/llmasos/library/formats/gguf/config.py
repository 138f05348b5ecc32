"""``config.json`` of an imported GGUF model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llmasos.errors import Unsupported
from llmasos.i18n import t
from llmasos.library.formats.gguf.architectures import Architecture, Dimensions, Placement
from llmasos.library.formats.gguf.fields import Fields
from llmasos.library.formats.gguf.header import Header, damaged
from llmasos.library.formats.gguf.rope import gemma3_parameters, rope_parameters

# Models whose query scale is not the head's size; llama.cpp tells them by their number of layers.
_LARGEST_GEMMA = {"gemma2": 46, "gemma3": 62}

Config = dict[str, Any]


def build_config(
    header: Header, architecture: Architecture, dimensions: Dimensions, placements: list[Placement]
) -> Config:
    """Everything that transformers has to know to build the model, without token ids and dtype.

    Nothing is left to a configuration class's default that could differ between models of the architecture.

    Raises:
        IntegrityError: a key is missing or impossible.
        Unsupported: the file uses something that the transformers model does not have.
    """
    fields = Fields(header)
    epsilon = fields.number(".attention.layer_norm_rms_epsilon")
    if epsilon is None:
        raise fields.missing(".attention.layer_norm_rms_epsilon")
    if not 0 < epsilon < 1:
        raise damaged(
            header.path,
            t(
                "{key} is {value}, a positive number is needed",
                key=fields.key(".attention.layer_norm_rms_epsilon"),
                value=epsilon,
            ),
        )
    targets = {placement.target for placement in placements}
    config: Config = {
        "architectures": [architecture.model_class],
        "model_type": architecture.model_type,
        "vocab_size": dimensions.vocabulary,
        "hidden_size": dimensions.hidden,
        "intermediate_size": dimensions.inner,
        "num_hidden_layers": dimensions.layers,
        "num_attention_heads": dimensions.heads,
        "num_key_value_heads": dimensions.key_heads,
        "max_position_embeddings": fields.required(".context_length"),
        "rms_norm_eps": epsilon,
        "tie_word_embeddings": "lm_head.weight" not in targets,
        "attention_dropout": 0.0,
        "use_cache": True,
    }
    return config | _BUILDERS[architecture.name](header, dimensions, targets, config["max_position_embeddings"])


def _llama(header: Header, dimensions: Dimensions, targets: set[str], context: int) -> Config:
    _check_divides(header, dimensions)
    return {
        "hidden_act": "silu",
        "head_dim": dimensions.head,
        "attention_bias": _all_or_none(header, targets, "self_attn", ("q_proj", "k_proj", "v_proj", "o_proj")),
        "mlp_bias": _all_or_none(header, targets, "mlp", ("gate_proj", "up_proj", "down_proj")),
        "rope_parameters": rope_parameters(header, dimensions, context),
    }


def _qwen2(header: Header, dimensions: Dimensions, targets: set[str], context: int) -> Config:
    if dimensions.head * dimensions.heads != dimensions.hidden:
        raise Unsupported(
            t(
                "{path}: {heads} heads of {head} do not make {hidden} dimensions, as qwen2 needs",
                path=header.path,
                heads=dimensions.heads,
                head=dimensions.head,
                hidden=dimensions.hidden,
            ),
            hint=t("Import the model from its original safetensors repository instead."),
        )
    return {
        "hidden_act": "silu",
        "use_sliding_window": False,
        "rope_parameters": rope_parameters(header, dimensions, context),
    }


def _qwen3(header: Header, dimensions: Dimensions, targets: set[str], context: int) -> Config:
    return {
        "hidden_act": "silu",
        "use_sliding_window": False,
        "head_dim": dimensions.head,
        "attention_bias": _all_or_none(header, targets, "self_attn", ("q_proj", "k_proj", "v_proj", "o_proj")),
        "rope_parameters": rope_parameters(header, dimensions, context),
    }


def _gemma(header: Header, dimensions: Dimensions, targets: set[str], context: int) -> Config:
    return {
        "hidden_act": "gelu_pytorch_tanh",
        "head_dim": dimensions.head,
        "attention_bias": False,
        "rope_parameters": rope_parameters(header, dimensions, context),
    }


def _gemma2(header: Header, dimensions: Dimensions, targets: set[str], context: int) -> Config:
    _check_divides(header, dimensions)
    fields = Fields(header)
    return {
        "hidden_activation": "gelu_pytorch_tanh",
        "head_dim": dimensions.head,
        "attention_bias": False,
        "query_pre_attn_scalar": _query_scalar(header.architecture, dimensions),
        "attn_logit_softcapping": fields.number(".attn_logit_softcapping", 50.0),
        "final_logit_softcapping": fields.number(".final_logit_softcapping", 30.0),
        "sliding_window": fields.integer(".attention.sliding_window", 4096, least=1),
        "layer_types": _layer_types(fields, dimensions.layers, 2),
        "rope_parameters": rope_parameters(header, dimensions, context),
    }


def _gemma3(header: Header, dimensions: Dimensions, targets: set[str], context: int) -> Config:
    _check_divides(header, dimensions)
    fields = Fields(header)
    window = fields.integer(".attention.sliding_window", 0)
    return {
        "hidden_activation": "gelu_pytorch_tanh",
        "head_dim": dimensions.head,
        "attention_bias": False,
        "query_pre_attn_scalar": _query_scalar(header.architecture, dimensions),
        "attn_logit_softcapping": None,
        "final_logit_softcapping": fields.number(".final_logit_softcapping") or None,
        "sliding_window": window or None,
        "layer_types": _layer_types(fields, dimensions.layers, 6) if window else ["full_attention"] * dimensions.layers,
        "rope_parameters": gemma3_parameters(header),
    }


def _phi3(header: Header, dimensions: Dimensions, targets: set[str], context: int) -> Config:
    fields = Fields(header)
    return {
        "hidden_act": "silu",
        "head_dim": dimensions.head,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "original_max_position_embeddings": fields.integer(".rope.scaling.original_context_length", context, least=1),
        # llama.cpp ignores the window; the model was trained with it.
        "sliding_window": fields.integer(".attention.sliding_window", 0) or None,
        "rope_parameters": {"partial_rotary_factor": 1.0} | rope_parameters(header, dimensions, context),
    }


_BUILDERS: dict[str, Callable[[Header, Dimensions, set[str], int], Config]] = {
    "llama": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "phi3": _phi3,
}


def _check_divides(header: Header, dimensions: Dimensions) -> None:
    """transformers' configuration classes refuse everything else."""
    if dimensions.hidden % dimensions.heads:
        raise damaged(
            header.path,
            t("{heads} heads do not divide {hidden} dimensions", heads=dimensions.heads, hidden=dimensions.hidden),
        )


def _all_or_none(header: Header, targets: set[str], part: str, names: Sequence[str]) -> bool:
    """Whether the layers have these biases; transformers has one switch for all of them."""
    present = [name for name in names if f"model.layers.0.{part}.{name}.bias" in targets]
    if present and len(present) != len(names):
        raise Unsupported(
            t(
                "{path} has biases for {present} but not for the rest of {names}, which {name} in transformers cannot "
                "hold",
                path=header.path,
                present=", ".join(present),
                names=", ".join(names),
                name=header.architecture,
            ),
            hint=t("Import the model from its original safetensors repository instead."),
        )
    return bool(present)


def _query_scalar(name: str, dimensions: Dimensions) -> int:
    if dimensions.layers == _LARGEST_GEMMA[name]:
        return dimensions.hidden // dimensions.heads
    return dimensions.head


def _layer_types(fields: Fields, layers: int, usual: int) -> list[str]:
    """Which layers see only a window: by an array of flags, or all but every n-th."""
    name = ".attention.sliding_window_pattern"
    value = fields.header.metadata.get(fields.key(name))
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != layers:
            raise damaged(
                fields.header.path,
                t(
                    "{key} has {count} entries for {layers} layers",
                    key=fields.key(name),
                    count=len(value),
                    layers=layers,
                ),
            )
        sliding = [bool(item) for item in value]
    else:
        period = fields.integer(name, usual, least=1)
        sliding = [(layer + 1) % period != 0 for layer in range(layers)]
    return ["sliding_attention" if flag else "full_attention" for flag in sliding]
