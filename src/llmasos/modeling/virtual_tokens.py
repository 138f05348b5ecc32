"""Trained vectors that stand before the text: prompt tuning, p-tuning and prefix tuning, in training and use.

The vectors come and go in hooks around the backbone of a model, so whoever calls the model need not know of them. Each
row gets its own, so a row holds one document. What is computed is what PEFT computes for one row without padding. With
padding, rows and what continues them keep the positions that they have alone; PEFT lets positions follow the padding,
and reads the padding of decoder-only classifiers. For Marian and Pegasus, embeddings are scaled as the model does it.

Sources: Lester et al., "The Power of Scale for Parameter-Efficient Prompt Tuning" (2021); Liu et al., "GPT Understands,
Too" (2021); Li and Liang, "Prefix-Tuning" (2021).
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from llmasos.errors import Unsupported
from llmasos.i18n import t
from llmasos.modeling.folder import Family

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "virtual_tokens"
"""Under which a model holds them."""


class VirtualTokens(nn.Module):
    """The vectors of an adapter, and what makes them.

    Args:
        encoder: called with (1, count) numbers from 0, it gives (1, count, width) vectors: embeddings of the model's
            width, or for a prefix the keys and values of all layers.
        count: how many.
        prefix: whether they are keys and values.
    """

    numbers: Tensor

    def __init__(self, encoder: nn.Module, count: int, *, prefix: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.count = count
        self.prefix = prefix
        self.register_buffer("numbers", torch.arange(count)[None], persistent=False)

    def forward(self) -> Tensor:
        """(count, width) the vectors."""
        found: Tensor = self.encoder(self.numbers)[0]
        return found


def stored_tokens(values: Tensor, *, prefix: bool) -> VirtualTokens:
    """Virtual tokens from the (count, width) vectors that a file holds."""
    return VirtualTokens(embedding_of(values).requires_grad_(False), len(values), prefix=prefix)


def embedding_of(values: Tensor) -> nn.Embedding:
    """A table of (count, width) vectors."""
    return nn.Embedding(values.shape[0], values.shape[1], _weight=values)


def install(model: PreTrainedModel, tokens: VirtualTokens, family: Family) -> None:
    """Put virtual tokens before every row that a model reads.

    Raises:
        Unsupported: a prefix, and the model takes no keys and values from outside.
    """
    if tokens.prefix:
        refuse_prefix(model, family)
    model.add_module(NAME, tokens.to(next(model.parameters()).device))
    if family is Family.SEQ2SEQ:
        encoder, decoder = cast(Any, model).get_encoder(), cast(Any, model).get_decoder()
        _Prompt(tokens, keep=True).hook(encoder)
        decoder.register_forward_pre_hook(_LongerSource(tokens, decoder), with_kwargs=True)
    elif tokens.prefix:
        _Prefix(tokens, model.config).hook(model.base_model)
    else:
        _Prompt(tokens, keep=family is not Family.CAUSAL).hook(model.base_model)


def refuse_prefix(model: PreTrainedModel, family: Family) -> None:
    """Raise Unsupported for models that a prefix cannot be for."""
    hint = t("Use prompt-tuning, p-tuning, lora or ia3.")
    if family is Family.SEQ2SEQ:
        raise Unsupported(
            t("encoder-decoder models cannot be prefix-tuned: in PEFT's format pairs of layers share one prefix, and "
              "half of the trained vectors have no effect"), hint=hint,
        )  # fmt: skip
    if "past_key_values" not in inspect.signature(model.base_model.forward).parameters:
        raise Unsupported(
            t("{architecture} cannot be prefix-tuned: its attention takes no further keys and values",
              architecture=type(model).__name__), hint=hint,
        )  # fmt: skip
    prefix_shape(model.config)


def prefix_shape(config: Any) -> tuple[int, int, int]:
    """(layers, heads, size of a head) of the keys that a prefix is for.

    Raises:
        Unsupported: layers differ in shape.
    """
    inner = config.get_text_config()
    layers, every = _number(inner, "num_hidden_layers"), _number(inner, "num_attention_heads")
    heads, width = _number(inner, "num_key_value_heads") or every, _number(inner, "hidden_size")
    size = _number(inner, "head_dim") or (width // every if width and every else None)
    if not layers or not heads or not size or getattr(inner, "num_kv_shared_layers", None):
        raise Unsupported(
            t("models of type {type} cannot be prefix-tuned: their layers have keys of different shapes",
              type=config.model_type),
            hint=t("Use prompt-tuning, p-tuning, lora or ia3."),
        )  # fmt: skip
    return layers, heads, size


def _number(config: Any, name: str) -> int | None:
    value = getattr(config, name, None)
    return value if isinstance(value, int) else None


class _Hooks:
    """What both kinds share: the arguments of a call by name, masks and positions that count the virtual tokens."""

    def __init__(self, tokens: VirtualTokens) -> None:
        self._tokens = tokens
        self._names: list[str] = []

    def hook(self, backbone: nn.Module) -> None:
        self._names = list(inspect.signature(backbone.forward).parameters)
        backbone.register_forward_pre_hook(self._before, with_kwargs=True)

    def _before(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
        inputs = {**dict(zip(self._names, args, strict=False)), **kwargs}
        ids: Tensor | None = inputs.get("input_ids")
        assert ids is not None, "a model with virtual tokens is called with token ids"
        assert "document_lengths" not in inputs, "a row that begins with virtual tokens holds one document"
        mask: Tensor | None = inputs.get("attention_mask")
        if mask is not None:
            assert mask.ndim == 2, "virtual tokens need a mask of (rows, tokens)"
            inputs["attention_mask"] = torch.cat([mask.new_ones(len(mask), self._tokens.count), mask], dim=1)
        if inputs.get("position_ids") is not None:
            inputs["position_ids"] = inputs["position_ids"] + self._tokens.count
        past = inputs.get("past_key_values")
        if past is None or past.get_seq_length() == 0:
            self._begin(module, inputs, ids)
        return (), inputs

    def _begin(self, module: nn.Module, inputs: dict[str, Any], ids: Tensor) -> None:
        """Add the virtual tokens to a call that is the first one for its rows."""
        raise NotImplementedError


class _Prompt(_Hooks):
    """Embeddings before those of the text.

    Args:
        keep: whether their positions stay in what the backbone gives: an encoder's head or the decoder reads them, as
            in PEFT. Without it, the output has the positions of the text alone.
    """

    def __init__(self, tokens: VirtualTokens, *, keep: bool) -> None:
        super().__init__(tokens)
        self._keep = keep

    def hook(self, backbone: nn.Module) -> None:
        super().hook(backbone)
        if not self._keep:
            backbone.register_forward_hook(self._after, with_kwargs=True)

    def _begin(self, module: nn.Module, inputs: dict[str, Any], ids: Tensor) -> None:
        count = self._tokens.count
        embedded = cast("PreTrainedModel", module).get_input_embeddings()(ids)
        scale = getattr(module, "embed_scale", None)  # Marian and Pegasus scale what they look up, outside the table
        if scale is not None:
            embedded = embedded * scale
        vectors = self._tokens().to(embedded.dtype).expand(len(ids), -1, -1)
        inputs["inputs_embeds"] = torch.cat([vectors, embedded], dim=1)
        inputs["input_ids"] = None
        positions = inputs.get("position_ids")
        if positions is not None:
            first = torch.arange(count, device=positions.device, dtype=positions.dtype)
            inputs["position_ids"] = torch.cat([first.expand(len(positions), -1), positions], dim=1)
        types = inputs.get("token_type_ids")
        if types is not None:
            inputs["token_type_ids"] = torch.cat([types.new_zeros(len(types), count), types], dim=1)

    def _after(self, _module: nn.Module, _args: Any, kwargs: dict[str, Any], output: Any) -> Any:
        if kwargs.get("inputs_embeds") is None:
            return output
        count = self._tokens.count
        if isinstance(output, tuple):
            return (output[0][:, count:], *output[1:])
        output.last_hidden_state = output.last_hidden_state[:, count:]
        if output.get("hidden_states") is not None:
            output.hidden_states = tuple(state[:, count:] for state in output.hidden_states)
        return output


class _LongerSource:
    """Lets the decoder attend to the virtual tokens among the states of the encoder."""

    def __init__(self, tokens: VirtualTokens, decoder: nn.Module) -> None:
        self._tokens = tokens
        self._names = list(inspect.signature(decoder.forward).parameters)

    def __call__(self, _module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
        inputs = {**dict(zip(self._names, args, strict=False)), **kwargs}
        mask: Tensor | None = inputs.get("encoder_attention_mask")
        states: Tensor | None = inputs.get("encoder_hidden_states")
        if mask is not None and states is not None and states.shape[1] == mask.shape[1] + self._tokens.count:
            longer = torch.cat([mask.new_ones(len(mask), self._tokens.count), mask], dim=1)
            inputs["encoder_attention_mask"] = longer
        return (), inputs


class _Prefix(_Hooks):
    """Keys and values before those of the text, in every layer."""

    def __init__(self, tokens: VirtualTokens, config: Any) -> None:
        super().__init__(tokens)
        self._config = config.get_text_config()
        self._shape = prefix_shape(config)

    def _begin(self, module: nn.Module, inputs: dict[str, Any], ids: Tensor) -> None:
        from transformers import DynamicCache

        past = inputs.get("past_key_values")
        if past is None:
            past = DynamicCache(config=self._config)
        layers, heads, size = self._shape
        vectors = self._tokens().view(self._tokens.count, 2 * layers, heads, size)
        # (2 * layers, rows, heads, count, size): keys and values of the first layer, of the second, ...
        pairs = vectors.permute(1, 2, 0, 3)[:, None].expand(-1, len(ids), -1, -1, -1)
        pairs = pairs.to(next(module.parameters()).dtype)
        for layer in range(layers):
            past.update(pairs[2 * layer], pairs[2 * layer + 1], layer)
        inputs["past_key_values"] = past
