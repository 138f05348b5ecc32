"""Trained vectors that stand before the text: prompt tuning, p-tuning and prefix tuning.

PEFT's modules make the vectors; :mod:`llmasos.modeling.virtual_tokens` brings them into the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from llmasos.errors import InvalidRecipe, Unsupported
from llmasos.i18n import t
from llmasos.modeling.folder import Family
from llmasos.modeling.virtual_tokens import VirtualTokens, embedding_of, install, prefix_shape, refuse_prefix
from llmasos.training.methods import layers
from llmasos.training.methods.applied import HEAD_FACTOR, Applied, ParameterGroup
from llmasos.training.methods.lora import modules_to_save, task_type
from llmasos.training.recipe.methods import PrefixTuning, PromptTuning, PTuning

if TYPE_CHECKING:
    from llmasos.modeling.tokenizer import Tokenizer

VirtualMethod = PromptTuning | PrefixTuning | PTuning


def apply_virtual_tokens(
    module: nn.Module,
    method: VirtualMethod,
    *,
    family: Family,
    kind: str,
    new_head: Sequence[str],
    tokenizer: Tokenizer | None,
) -> Applied:
    """Put trained vectors before every row, and train the head of a classifier with them.

    Raises:
        InvalidRecipe: this method cannot be used with the model, or the vectors leave no room for a text.
    """
    model: Any = module
    prefix = isinstance(method, PrefixTuning)
    if prefix:
        try:
            refuse_prefix(model, family)
        except Unsupported as error:
            raise InvalidRecipe(error.message, hint=error.hint) from error
    _refuse_length(model, method)
    whole = modules_to_save(module, (), kind=kind, new_head=new_head)
    config, encoder = _encoder(model, method, tokenizer)
    config.task_type = task_type(family, kind)
    config.modules_to_save = whole or None
    module.requires_grad_(False)
    dtype = torch.float64 if next(module.parameters()).dtype == torch.float64 else torch.float32
    tokens = VirtualTokens(encoder.to(dtype), method.tokens, prefix=prefix)
    install(model, tokens, family)
    vectors = {f"virtual_tokens.{name}": weight for name, weight in tokens.named_parameters()}
    for name, part in module.named_modules():
        if any(layers.matches(name, ending) for ending in whole):
            part.requires_grad_(True)
    trained = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
    heads = {name: weight for name, weight in trained.items() if name not in vectors}
    # Decay would draw the vectors away from where the model's own embeddings are.
    groups = [ParameterGroup(vectors, decay=False), *([ParameterGroup(heads, HEAD_FACTOR)] if heads else [])]
    return Applied(
        module, method, groups, 0, 0, 0.0, "adapter", adapter=config, requires_unpacked=True,
        forbids_checkpointing=prefix, virtual_tokens=method.tokens,
    )  # fmt: skip


def _refuse_length(model: Any, method: VirtualMethod) -> None:
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if isinstance(limit, int) and method.tokens >= limit:
        raise InvalidRecipe(
            t("method.tokens = {tokens}: the model reads at most {limit} tokens, the virtual ones included",
              tokens=method.tokens, limit=limit),
            hint=t("Usual are 10 to 100."),
        )  # fmt: skip


def _encoder(model: Any, method: VirtualMethod, tokenizer: Tokenizer | None) -> tuple[Any, nn.Module]:
    """PEFT's configuration, and the module that makes the vectors."""
    from peft import PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig
    from peft.tuners import PrefixEncoder, PromptEncoder

    first = _embedded(model, torch.zeros(1, dtype=torch.long))
    width = first.shape[-1]
    common: dict[str, Any] = {"num_virtual_tokens": method.tokens, "num_transformer_submodules": 1}
    match method:
        case PrefixTuning():
            depth, heads, size = prefix_shape(model.config)
            common |= {"num_layers": depth, "num_attention_heads": heads, "token_dim": heads * size}
            config: Any = PrefixTuningConfig(
                **common, prefix_projection=method.projection,
                encoder_hidden_size=method.projection_size or width,
            )  # fmt: skip
            encoder: nn.Module = cast(Any, PrefixEncoder)(config)
            if not method.projection:
                # Keys and values of the size of trained ones would drown the text; small ones change little at first.
                nn.init.normal_(cast(nn.Embedding, encoder.embedding).weight, std=0.02)
        case PTuning():
            config = PromptEncoderConfig(
                **common, token_dim=width, encoder_hidden_size=method.encoder_size or width,
                encoder_reparameterization_type=cast(Any, method.encoder.upper()),
            )  # fmt: skip
            encoder = cast(Any, PromptEncoder)(config)
        case PromptTuning():
            config = PromptTuningConfig(**common, token_dim=width)
            encoder = embedding_of(_beginning(model, method, tokenizer))
    return config, encoder.to(first.device)


def _beginning(model: Any, method: PromptTuning, tokenizer: Tokenizer | None) -> Tensor:
    """(tokens, width) the vectors before the first step."""
    table: Tensor = model.get_input_embeddings().weight
    if method.initialization == "random" or table.is_meta:
        spread = 0.02 if table.is_meta else float(table.detach().float().std())
        return torch.randn(method.tokens, table.shape[1]).to(table.device) * spread
    if method.initialization == "vocabulary":
        ids = torch.randint(0, table.shape[0], (method.tokens,))
    else:
        assert tokenizer is not None and method.text is not None
        own = tokenizer.encode(method.text, add_special_tokens=False).ids
        if not own:
            raise InvalidRecipe(t("method.text holds no token"), hint=t("Give a sentence that describes the task."))
        ids = torch.tensor((own * (method.tokens // len(own) + 1))[: method.tokens])
    return _embedded(model, ids)


@torch.no_grad()
def _embedded(model: Any, ids: Tensor) -> Tensor:
    """(tokens, width) what the layers read for token ids, in float32."""
    table = model.get_input_embeddings()
    encoder = model.get_encoder() if model.config.is_encoder_decoder else model.base_model
    found: Tensor = table(ids.to(table.weight.device)) * (getattr(encoder, "embed_scale", None) or 1.0)
    return found.float() if found.dtype != torch.float64 else found
