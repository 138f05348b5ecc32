"""Runner for any causal model of transformers, through its attention interface.

The model's own code computes everything but attention, which reads and writes the engine's paged cache. A model is
taken only if a short prompt, cut into chunks, gives the same logits as the model on its own: what the interface cannot
express (recurrent layers, ALiBi, attention of its own kind) is refused when it is loaded, not answered wrongly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from llmasos.engine.batch import Batch, SequenceSlice
from llmasos.engine.cache_dtype import CacheDtype, choose_cache_dtype
from llmasos.engine.kernels.decoder import BLOCK_SIZE
from llmasos.engine.kernels.paged_attention import AttentionRule, PagedAttention
from llmasos.errors import Unsupported
from llmasos.i18n import t

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

INTERFACE = "llmasos_paged"
_PROBE_TOKENS = 24
# Relative difference of the logits that rounding explains.
_PROBE_TOLERANCE = {"float32": 1e-3, "bfloat16": 6e-2, "float16": 2e-2}


class _Shapes:
    """First pass: notes what each layer would store, and attends within the batch."""

    def __init__(self) -> None:
        self.of_layer: dict[int, tuple[int, int, int]] = {}

    def attend(self, module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        self.of_layer[module.layer_idx] = (key.shape[1], key.shape[3], value.shape[3])
        return query.new_zeros(1, query.shape[2], query.shape[1], value.shape[3])


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    llmasos_pass: PagedAttention | _Shapes,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls for each layer: (1, heads, rows, dim) in, (1, rows, heads, dim) out."""
    if isinstance(llmasos_pass, _Shapes):
        return llmasos_pass.attend(module, query, key, value), None
    layer = module.layer_idx
    llmasos_pass.write(layer, key[0].transpose(0, 1), value[0].transpose(0, 1))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    rule = AttentionRule(scale, sliding_window or 0, softcap, s_aux)
    out = llmasos_pass.attend(layer, query[0].transpose(0, 1), rule)
    return out.to(query.dtype)[None], None


class TransformersRunner:
    """See :class:`~llmasos.engine.runner.ModelRunner`."""

    block_size = BLOCK_SIZE
    capabilities = frozenset({"logits"})

    def __init__(
        self, model: PreTrainedModel, *, context_length: int | None, name: str, cache_dtype: str | None = None
    ) -> None:
        """Take over a loaded model.

        Args:
            context_length: longest sequence; ``None``: the model has no fixed limit, which the cache then sets.
            name: of the model, for messages.
            cache_dtype: ``bfloat16``, ``int8`` or ``None`` for that of the model.

        Raises:
            Unsupported: the attention interface does not carry this model.
        """
        import torch
        from transformers import AttentionInterface

        AttentionInterface.register(INTERFACE, _attend)
        self._model = cast(Any, model)
        self._model.eval()
        self.weight_bytes = sum(parameter.nbytes for parameter in model.parameters())
        self._name = name
        config = model.config.get_text_config()
        self.vocabulary_size = int(config.vocab_size)
        self.context_length = context_length or 1 << 20
        self._device = str(model.device)
        expected = self._own_logits()
        self._model.set_attn_implementation(INTERFACE)
        kv_heads, key_dim, value_dim = self._shapes(config.num_hidden_layers)
        self._attention = PagedAttention(
            config.num_hidden_layers, kv_heads, key_dim, value_dim, model.dtype, self._device
        )
        self._check(expected)
        # The model has proved itself with an exact cache; another format is the caller's wish.
        self.cache_dtype = choose_cache_dtype(cache_dtype, exact=cast(CacheDtype, self.precision))
        if self.cache_dtype != self.precision:
            dtype: torch.dtype = getattr(torch, self.cache_dtype)
            self._attention = PagedAttention(
                config.num_hidden_layers, kv_heads, key_dim, value_dim, dtype, self._device
            )
        self.bytes_per_block = self._attention.bytes_per_block

    @property
    def description(self) -> str:
        """How the model is run, for people."""
        cache = "" if self.cache_dtype == self.precision else f", {self.cache_dtype} cache"
        return f"transformers, {self.precision}{cache}"

    @property
    def device(self) -> str:
        """The torch device that computes."""
        return self._device

    @property
    def precision(self) -> str:
        """The number format of weights and arithmetic."""
        return str(self._model.dtype).removeprefix("torch.")

    def _refuse(self, reason: str) -> Unsupported:
        return Unsupported(t("{model} does not fit the engine's paged attention: {reason}", model=self._name,
                             reason=reason))  # fmt: skip

    def _probe(self) -> torch.Tensor:
        """A fixed prompt of distinct tokens, (tokens,)."""
        import torch

        count = min(_PROBE_TOKENS, self.context_length)
        return (torch.arange(count) * 7919 + 11) % min(self.vocabulary_size, 1000)

    def _own_logits(self) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            out = self._model(input_ids=self._probe()[None].to(self._device), use_cache=False)
        logits: torch.Tensor = out.logits[0].float().cpu()
        return logits

    def _shapes(self, layers: int) -> tuple[int, int, int]:
        """(kv heads, key dim, value dim), the same in all layers."""
        shapes = _Shapes()
        try:
            self._run(self._probe(), None, shapes)
        except TypeError as error:
            raise self._refuse(str(error)) from error
        if set(shapes.of_layer) != set(range(layers)):
            raise self._refuse(
                t("{seen} of its {layers} layers use the attention interface", seen=len(shapes.of_layer), layers=layers)
            )
        if len(set(shapes.of_layer.values())) > 1:
            raise self._refuse(t("its layers store keys of different shapes"))
        return next(iter(shapes.of_layer.values()))

    def _check(self, expected: torch.Tensor) -> None:
        """Compare a chunked prompt with what the model gives on its own."""
        import torch

        prompt = self._probe()
        blocks = -(-len(prompt) // BLOCK_SIZE)
        self._attention.allocate(blocks)
        parts, begin = [], 0
        for length in (len(prompt) - len(prompt) // 3, len(prompt) // 3 - 1, 1):
            if length > 0:
                rows = torch.arange(length)
                piece = SequenceSlice(0, length, begin, list(range(blocks))[::-1], None, 0)
                parts.append(self.forward(Batch(prompt[begin : begin + length], rows + begin, [piece], rows)))
                begin += length
        found = torch.cat(parts)
        self._attention.free()
        difference = float((found - expected[: len(found)]).norm() / expected[: len(found)].norm())
        if not difference <= _PROBE_TOLERANCE[self.precision]:
            raise self._refuse(
                t("its logits differ by {difference} from the model's own", difference=f"{difference:.1%}")
            )

    def allocate_cache(self, blocks: int) -> None:
        self._attention.allocate(blocks)

    def copy_block(self, source: int, target: int) -> None:
        self._attention.copy_block(source, target)

    def forward(self, batch: Batch) -> torch.Tensor:
        self._attention.start(len(batch.tokens), batch.sequences)
        return self._run(batch.tokens, batch, self._attention)

    def _run(self, tokens: torch.Tensor, batch: Batch | None, attention: PagedAttention | _Shapes) -> torch.Tensor:
        import torch

        positions = torch.arange(len(tokens)) if batch is None else batch.positions
        wanted = torch.tensor([len(tokens) - 1]) if batch is None else batch.logits_rows
        with torch.inference_mode():
            out = self._model(
                input_ids=tokens[None].to(self._device),
                position_ids=positions[None].to(self._device),
                use_cache=False,
                logits_to_keep=wanted.to(self._device),
                llmasos_pass=attention,
            )
        logits: torch.Tensor = out.logits[0].float()
        return logits

    def close(self) -> None:
        self._attention.free()
        self._model = None
