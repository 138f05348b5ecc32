"""How a module of transformers is run by its parts: its body without padding, and what its head does to the result.

Both are found out by trying: a pair of short texts tells whether the body keeps documents in one row apart, and
whether the head is the matrix and the scaling that its configuration speaks of. Where it is not, the slower way that
the module itself goes is taken.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmasos.modeling.encoding import has_type_embeddings
from llmasos.training.kernels.cross_entropy import LogitTransform
from llmasos.training.kernels.decoder import fast_states
from llmasos.training.kernels.documents import LENGTHS, no_mask, use_document_attention
from llmasos.training.objectives.flat import Flat
from llmasos.training.objectives.objective import device_of
from llmasos.training.objectives.row import row_of_documents

_PROBE = (7, 5)
_ROUND = 32
_TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.02}
_POSITIONS_AFTER_PADDING = frozenset({
    "camembert", "data2vec-text", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
})  # fmt: skip
"""Models whose positions are counted from the padding id on."""


@dataclass(frozen=True)
class Traits:
    """What was found out about a module.

    Attributes:
        packable: documents in one row do not see each other if their lengths are given.
        transform: what is done to the output of the head; ``None``: the head is not a matrix alone, and logits must
            come from the module itself.
        bias: whether ``final_logits_bias`` is added.
    """

    packable: bool
    transform: LogitTransform | None = None
    bias: bool = False


def body_of(module: nn.Module) -> Any:
    """The network without its head."""
    model: Any = module
    return getattr(model, model.base_model_prefix)


def decoder_states(module: nn.Module, arguments: dict[str, Any]) -> Tensor:
    """(B, T, width) last states of the decoder of an encoder-decoder model.

    Args:
        arguments: ``input_ids``, ``attention_mask`` and ``decoder_input_ids``.
    """
    model: Any = module
    body = getattr(model, model.base_model_prefix, None)
    if body is not None:
        return cast(Tensor, body(**arguments, use_cache=False).last_hidden_state)
    mask = arguments.get("attention_mask")  # T5 has an encoder and a decoder and nothing around them
    read = model.get_encoder()(input_ids=arguments["input_ids"], attention_mask=mask).last_hidden_state
    decoder = model.get_decoder()
    output = decoder(
        input_ids=arguments["decoder_input_ids"],
        encoder_hidden_states=read,
        encoder_attention_mask=mask,
        use_cache=False,
    )
    return cast(Tensor, output.last_hidden_state)


def states_at(module: nn.Module, flat: Flat, places: NDArray[np.int64], **extra: Tensor) -> Tensor:
    """(N, width) last states of a packable body at some places of a row of documents.

    Args:
        extra: further arguments of the body, such as ``token_type_ids``.
    """
    body = body_of(module)
    device = device_of(module)
    flat, extra = _rounded(module, flat, extra)
    ids, positions = (torch.from_numpy(values)[None].to(device) for values in (flat.ids, flat.positions))
    chosen = torch.from_numpy(places).to(device)
    with row_of_documents(flat.lengths):
        fast = None if extra else fast_states(body, ids, positions, flat.lengths)
        if fast is not None:
            return cast(Tensor, body.norm(fast[chosen]))
        arguments = document_arguments(module, positions, flat.lengths)
        if not cast(Any, module).config.is_encoder_decoder and "use_cache" in _parameters(cast(Any, type(body))):
            arguments["use_cache"] = False
        return cast(Tensor, body(input_ids=ids, **arguments, **extra).last_hidden_state[0, chosen])


def _rounded(module: nn.Module, flat: Flat, extra: dict[str, Tensor]) -> tuple[Flat, dict[str, Tensor]]:
    """A row with one more document, which nobody looks at, so that its length is a multiple of :data:`_ROUND`.

    In bfloat16 on CPUs, oneDNN makes code for every shape of a product, and keeps that of the last 1,024.
    """
    device = device_of(module)
    exact = next(module.parameters()).dtype != torch.bfloat16 and not torch.is_autocast_enabled(device.type)
    missing = -len(flat.ids) % _ROUND
    if device.type != "cpu" or exact or not missing:
        return flat, extra
    ids = np.append(flat.ids, np.repeat(flat.ids[:1], missing))
    positions = np.append(flat.positions, np.arange(missing))
    types = np.append(flat.types, np.zeros(missing, np.int64))
    longer = replace(flat, ids=ids, positions=positions, types=types, lengths=(*flat.lengths, missing))
    return longer, {name: torch.cat([tensor, tensor.new_zeros(1, missing)], 1) for name, tensor in extra.items()}


@lru_cache
def _parameters(kind: type[nn.Module]) -> frozenset[str]:
    return frozenset(inspect.signature(kind.forward).parameters)


def document_arguments(module: nn.Module, positions: Tensor, lengths: tuple[int, ...]) -> dict[str, Any]:
    """What a packable body is called with, beside its tokens.

    Args:
        positions: (1, T) beginning at 0 in every document.
        lengths: of the documents, in order.
    """
    config: Any = module.config
    shift = int(config.pad_token_id) + 1 if config.model_type in _POSITIONS_AFTER_PADDING else 0
    return {
        "position_ids": positions + shift,
        "attention_mask": _masks(config, no_mask(positions.device)),
        LENGTHS: lengths,
    }


def _masks(config: Any, mask: Tensor) -> Any:
    """Models with several kinds of attention take a mask for each."""
    kinds = getattr(config.get_text_config(), "layer_types", None)
    return mask if not kinds or len(set(kinds)) == 1 else dict.fromkeys(set(kinds), mask)


def find_traits(module: nn.Module, *, causal_head: bool, try_packing: bool = True) -> Traits:
    """Try what a module can do; its attention becomes that of :mod:`llmasos.training.kernels.documents` if possible.

    Args:
        causal_head: whether the module is a language model whose head is of interest.
        try_packing: whether documents may stand in one row at all.
    """
    config: Any = cast(Any, module).config
    if any(parameter.is_meta for parameter in module.parameters()):
        packable = try_packing and not config.is_encoder_decoder
        return Traits(packable and bool(getattr(module, "_supports_attention_backend", False)), *_said(config))
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            packable = try_packing and _keeps_documents_apart(module, config)
            transform, bias = _head(module, config) if causal_head else (None, False)
    finally:
        module.train(was_training)
    return Traits(packable, transform, bias)


def _keeps_documents_apart(module: nn.Module, config: Any) -> bool:
    if config.is_encoder_decoder:
        return False
    texts = [probe_ids(module, length, seed) for seed, length in enumerate(_PROBE)]
    body = body_of(module)
    types = has_type_embeddings(config)
    before = config._attn_implementation
    apart = [body(input_ids=ids, **_plain(ids, types)).last_hidden_state for ids in texts]
    if not use_document_attention(cast(Any, module)):
        return False
    ids = torch.cat(texts, 1)
    positions = torch.cat([torch.arange(length, device=ids.device) for length in _PROBE])[None]
    extra = {"token_type_ids": torch.zeros_like(ids)} if types else {}
    try:
        together = body(input_ids=ids, **document_arguments(module, positions, _PROBE), **extra).last_hidden_state
    except (TypeError, ValueError, AssertionError, RuntimeError, AttributeError, KeyError):
        # The forward methods of a hundred architectures refuse what they do not know in many ways.
        cast(Any, module).set_attn_implementation(before)
        return False
    if not alike(torch.cat(apart, 1), together):
        cast(Any, module).set_attn_implementation(before)
        return False
    return True


def _plain(ids: Tensor, types: bool) -> dict[str, Tensor]:
    return {"token_type_ids": torch.zeros_like(ids)} if types else {}


def probe_ids(module: nn.Module, length: int, seed: int) -> Tensor:
    """(1, length) tokens that are no special ones."""
    device = next(module.parameters()).device
    size = int(cast(Any, module).get_input_embeddings().weight.shape[0])
    generator = torch.Generator().manual_seed(seed)
    low = min(10, size // 2)
    return torch.randint(low, size, (1, length), generator=generator).to(device)


def alike(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape:
        return False
    distance = (first.double() - second.double()).norm() / first.double().norm().clamp_min(1e-30)
    return bool(distance < _TOLERANCE[first.dtype])


def _said(config: Any) -> tuple[LogitTransform, bool]:
    """What the configuration says about the head: Cohere multiplies, Granite divides, Gemma bends, T5 scales."""
    text = config.get_text_config()
    scale = float(getattr(text, "logit_scale", None) or 1.0)
    divisor = getattr(text, "logits_scaling", None)
    if divisor:
        scale /= float(divisor)
    cap = getattr(text, "final_logit_softcapping", None)
    if getattr(text, "scale_decoder_outputs", False):
        scale *= float(text.d_model) ** -0.5
    return LogitTransform(scale, None if cap is None else float(cap)), False


def _head(module: nn.Module, config: Any) -> tuple[LogitTransform | None, bool]:
    model: Any = module
    head = model.get_output_embeddings()
    if head is None:
        return None, False
    ids = probe_ids(module, _PROBE[0], 0)
    if config.is_encoder_decoder:
        arguments = {"input_ids": ids, "decoder_input_ids": ids}
        logits, hidden = model(**arguments).logits, decoder_states(module, arguments)
    else:
        logits, hidden = model(input_ids=ids).logits, body_of(module)(input_ids=ids).last_hidden_state
    plain = head(hidden)
    said, _ = _said(config)
    scaled = LogitTransform(float(getattr(config, "d_model", 1)) ** -0.5)  # T5 with tied embeddings
    added = getattr(model, "final_logits_bias", None)
    for transform in (LogitTransform(), said, scaled):
        if alike(logits, transform(plain)) and (added is None or not added.any()):
            return transform, False
        if added is not None and alike(logits, transform(plain + added)):
            return transform, True
    return None, False


@dataclass(frozen=True)
class Head:
    """The head of a language model: a matrix if it is known to be one, else a function of hidden states."""

    transform: LogitTransform
    weight: Tensor | None
    bias: Tensor | None
    function: Callable[[Tensor], Tensor]


def head_of(module: nn.Module, traits: Traits) -> Head | None:
    """The head as it is now, with the layers that a method put into it; ``None`` if only the module knows it."""
    if traits.transform is None:
        return None
    model: Any = module
    layer = model.get_output_embeddings()
    added = model.final_logits_bias.reshape(-1) if traits.bias else None
    plain = type(layer) is nn.Linear and not layer._forward_hooks and not layer._forward_pre_hooks
    bias = layer.bias if plain else None
    if added is not None:
        bias = added if bias is None else bias + added

    def function(hidden: Tensor) -> Tensor:
        logits: Tensor = layer(hidden)
        return logits if added is None else logits + added

    return Head(traits.transform, layer.weight if plain else None, bias, function)
