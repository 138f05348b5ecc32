"""Decoder layers in plain torch: the reference for the native kernels, the fallback, and the path for other devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmasos.engine.kernels.decoder import BLOCK_SIZE, AdapterLayers, Precision
from llmasos.engine.kernels.paged_attention import AttentionRule, PagedAttention
from llmasos.errors import Unsupported
from llmasos.i18n import t

if TYPE_CHECKING:
    import torch

    from llmasos.engine.architecture import DecoderSpec
    from llmasos.engine.batch import SequenceSlice
    from llmasos.engine.cache_dtype import CacheDtype
    from llmasos.engine.weights import DecoderWeights, LayerWeights, Projection


class _Linear:
    """``x @ weight.T + bias`` in the precision asked for; float32 in and out."""

    def __init__(self, projection: Projection, precision: Precision, device: str) -> None:
        import torch

        weight = projection.weight.float()
        self.bias = None if projection.bias is None else projection.bias.to(device)
        self._integer = precision == "int8"
        if self._integer:
            self.scale = (weight.abs().amax(1) / 127).clamp_min(torch.finfo(torch.float32).tiny)
            # _int_mm wants a multiple of 8 in every dimension; zeros change nothing.
            rounded = (weight / self.scale[:, None]).round().to(torch.int8)
            self.columns, self.depth = rounded.shape
            padded = torch.nn.functional.pad(rounded, (0, -self.depth % 8, 0, -self.columns % 8))
            self.weight = padded.t().contiguous().to(device)
            self.scale = self.scale.to(device)
        else:
            self.weight = weight.to(device, torch.bfloat16 if precision == "bf16" else torch.float32).contiguous()

    @property
    def bytes(self) -> int:
        return self.weight.nbytes + (self.scale.nbytes if self._integer else 0)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        import torch

        if not self._integer:
            out = torch.nn.functional.linear(x.to(self.weight.dtype), self.weight).float()
            return out if self.bias is None else out + self.bias
        rows = x.shape[0]
        row_scale = x.abs().amax(1, keepdim=True) / 127
        quantized = (x / row_scale.clamp_min(torch.finfo(torch.float32).tiny)).round().clamp(-127, 127).to(torch.int8)
        # At least 17 rows for CUDA, and a depth padded like the weight's.
        quantized = torch.nn.functional.pad(quantized, (0, self.weight.shape[0] - self.depth, 0, max(0, 17 - rows)))
        product = torch._int_mm(quantized, self.weight)[:rows, : self.columns]
        out = product.float() * row_scale * self.scale
        return out if self.bias is None else out + self.bias


class _Layer:
    def __init__(self, weights: LayerWeights, precision: Precision, device: str) -> None:
        from llmasos.engine.kernels.decoder import MODULES

        for module in MODULES:
            setattr(self, module, _Linear(getattr(weights, module), precision, device))
        for norm in (
            "input_norm",
            "post_attention_norm",
            "query_norm",
            "key_norm",
            "attention_out_norm",
            "mlp_out_norm",
        ):
            value = getattr(weights, norm)
            setattr(self, norm, None if value is None else value.to(device))

    query: _Linear
    key: _Linear
    value: _Linear
    output: _Linear
    gate: _Linear
    up: _Linear
    down: _Linear
    input_norm: torch.Tensor
    post_attention_norm: torch.Tensor
    query_norm: torch.Tensor | None
    key_norm: torch.Tensor | None
    attention_out_norm: torch.Tensor | None
    mlp_out_norm: torch.Tensor | None


class TorchDecoder:
    """See :class:`~llmasos.engine.kernels.decoder.Decoder`."""

    kernels = "torch"

    def __init__(
        self,
        spec: DecoderSpec,
        weights: DecoderWeights,
        *,
        precision: Precision,
        cache_dtype: CacheDtype,
        device: str = "cpu",
    ) -> None:
        import torch

        if precision == "int4":
            raise Unsupported(
                t("int4 weights need the native kernels, which this machine cannot run"),
                hint=t("Use int8 or bf16."),
            )
        self._spec, self._device = spec, device
        self.precision: Precision = precision
        self.cache_dtype: CacheDtype = cache_dtype
        self._layers = [_Layer(layer, precision, device) for layer in weights.layers()]
        head = weights.head()
        self._head_norm = head.norm.to(device)
        self._head = _Linear(head.projection, precision, device)
        self.weight_bytes = self._head.bytes + sum(
            getattr(layer, name).bytes
            for layer in self._layers
            for name in ("query", "key", "value", "output", "gate", "up", "down")
        )
        dtype: torch.dtype = getattr(torch, cache_dtype)
        self._attention = PagedAttention(len(spec.layers), spec.kv_heads, spec.head_dim, spec.head_dim, dtype, device)
        self._rules = [AttentionRule(spec.attention_scale, layer.window) for layer in spec.layers]
        self.bytes_per_block = self._attention.bytes_per_block
        self._adapters: dict[str, AdapterLayers] = {}

    def allocate_cache(self, blocks: int) -> None:
        self._attention.allocate(blocks)
        positions = min(self._spec.context_length, blocks * BLOCK_SIZE)
        self._tables = {
            name: tuple(table.to(self._device) for table in rope.tables(positions))
            for name, rope in self._spec.ropes.items()
        }

    def copy_block(self, source: int, target: int) -> None:
        self._attention.copy_block(source, target)

    def add_adapter(self, name: str, layers: AdapterLayers) -> None:
        self._adapters[name] = layers

    def remove_adapter(self, name: str) -> None:
        del self._adapters[name]

    def start(self, hidden: torch.Tensor, positions: torch.Tensor, slices: Sequence[SequenceSlice]) -> None:
        self._hidden, self._slices = hidden, slices
        self._positions = positions.to(self._device)
        self._attention.start(hidden.shape[0], slices)

    def run_layers(self, first: int, last: int) -> None:
        for index in range(first, last):
            self._run_layer(index)

    def _run_layer(self, index: int) -> None:
        import torch

        spec, layer, x = self._spec, self._layers[index], self._hidden
        rows = x.shape[0]
        normed = _rms_norm(x, layer.input_norm, spec.epsilon)
        query = self._project(index, "query", normed).view(rows, spec.heads, spec.head_dim)
        key = self._project(index, "key", normed).view(rows, spec.kv_heads, spec.head_dim)
        value = self._project(index, "value", normed).view(rows, spec.kv_heads, spec.head_dim)
        if layer.query_norm is not None and layer.key_norm is not None:
            query = _rms_norm(query, layer.query_norm, spec.epsilon)
            key = _rms_norm(key, layer.key_norm, spec.epsilon)
        rope = spec.layers[index].rope
        if rope is not None:
            cosine, sine = (table[self._positions][:, None, :] for table in self._tables[rope])
            query, key = _rotate(query, cosine, sine), _rotate(key, cosine, sine)
        self._attention.write(index, key, value)
        self._queries = query
        attended = self._attention.attend(index, query, self._rules[index]).reshape(rows, -1)
        branch = self._project(index, "output", attended)
        if layer.attention_out_norm is not None:
            branch = _rms_norm(branch, layer.attention_out_norm, spec.epsilon)
        x += branch
        normed = _rms_norm(x, layer.post_attention_norm, spec.epsilon)
        gate = self._project(index, "gate", normed)
        functional = torch.nn.functional
        gate = functional.silu(gate) if spec.activation == "silu" else functional.gelu(gate, approximate="tanh")
        branch = self._project(index, "down", gate * self._project(index, "up", normed))
        if layer.mlp_out_norm is not None:
            branch = _rms_norm(branch, layer.mlp_out_norm, spec.epsilon)
        x += branch

    def _project(self, index: int, module: str, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = getattr(self._layers[index], module)(x)
        for piece in self._slices:
            if piece.adapter is None:
                continue
            factor = self._adapters[piece.adapter][index].get(module)
            if factor is not None:
                rows = slice(piece.start, piece.start + piece.length)
                out[rows] += (x[rows] @ factor.a.float().T) @ factor.b.float()
        return out

    def attention_weights(self, layer: int, piece: SequenceSlice) -> torch.Tensor:
        return self._attention.weights(layer, piece.sequence_id, self._queries, self._rules[layer])

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        return self._head(_rms_norm(hidden, self._head_norm, self._spec.epsilon))

    def close(self) -> None:
        self._attention.free()
        self._layers = []
        self._adapters.clear()


def _rms_norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Root-mean-square norm over the last dimension (Zhang and Sennrich 2019)."""
    import torch

    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) * weight


def _rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary embedding, halves convention: (rows, heads, dim) with tables (rows, 1, dim / 2)."""
    import torch

    first, second = x.chunk(2, -1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)
