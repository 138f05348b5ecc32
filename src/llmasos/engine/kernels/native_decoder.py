"""Decoder layers on the native kernels: int8, int4 or bfloat16 weights, bfloat16 or int8 paged cache."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from ctypes import POINTER, byref, c_void_p
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmasos.engine.kernels import native
from llmasos.engine.kernels.decoder import BLOCK_SIZE, MODULES, AdapterLayers, Precision
from llmasos.engine.kernels.fused_projections import interleave, pad_depth, stack
from llmasos.engine.kernels.memory import Arena
from llmasos.engine.kernels.native_cache import NativeCache
from llmasos.errors import Unsupported
from llmasos.i18n import t

if TYPE_CHECKING:
    import torch

    from llmasos.engine.architecture import DecoderSpec
    from llmasos.engine.batch import SequenceSlice
    from llmasos.engine.cache_dtype import CacheDtype
    from llmasos.engine.weights import DecoderWeights, LayerWeights, Projection


class NativeDecoder:
    """See :class:`~llmasos.engine.kernels.decoder.Decoder`."""

    kernels = "native"

    def __init__(
        self,
        library: native.NativeLibrary,
        spec: DecoderSpec,
        weights: DecoderWeights,
        *,
        precision: Precision,
        threads: int,
        cache_dtype: CacheDtype,
        max_rows: int = 512,
    ) -> None:
        if precision == "fp32":
            raise Unsupported(t("the native kernels compute in int8, int4 or bf16, not in fp32"))
        self._library, self._spec, self._threads = library, spec, threads
        self.precision: Precision = precision
        self.cache_dtype: CacheDtype = cache_dtype
        self._cache = NativeCache(library, spec, cache_dtype)
        self.bytes_per_block = self._cache.bytes_per_block
        # int4 costs accuracy everywhere and most in the head, whose share of the time is small: it stays int8.
        self._head_precision = "int8" if precision == "int4" else precision
        self._keep: list[Any] = []  # memory that the structures point to
        self._arena = Arena(self._packed_total())
        self.weight_bytes = 0
        self._layers = (native.Layer * len(spec.layers))()
        for struct, layer in zip(self._layers, weights.layers(), strict=True):
            self._fill(struct, layer)
        head = weights.head()
        self._head_norm = self._pinned(head.norm)
        self._head = self._pack(head.projection, self._head_precision)
        self._model = native.Model(
            layers=ctypes.cast(self._layers, POINTER(native.Layer)),
            hidden=spec.hidden,
            intermediate=self._intermediate,
            activation=native.ACTIVATIONS[spec.activation],
            max_rows=0,
            epsilon=spec.epsilon,
            threads=threads,
            workspace=None,
        )
        self._ensure_rows(max_rows)
        self._adapters: dict[str, tuple[Any, int, AdapterLayers]] = {}
        self._call = native.BatchCall()
        self._call_keep: tuple[Any, ...] = ()

    @property
    def _intermediate(self) -> int:
        return (self._spec.intermediate + 15) // 16 * 16

    def _packed_total(self) -> int:
        """Bytes of all packed matrices together."""
        spec = self._spec
        width, kv_width = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
        shapes = [
            (width + 2 * kv_width, spec.hidden),
            (spec.hidden, width),
            (2 * self._intermediate, spec.hidden),
            (spec.hidden, self._intermediate),
        ]

        def room(columns: int, depth: int, precision: str) -> int:
            return Arena.room(native.packed_size(self._library, columns, depth, precision))

        layer = sum(room(columns, depth, self.precision) for columns, depth in shapes)
        return layer * len(spec.layers) + room(spec.vocabulary, spec.hidden, self._head_precision)

    def _pinned(self, tensor: torch.Tensor | None) -> int | None:
        if tensor is None:
            return None
        tensor = tensor.float().contiguous()
        self._keep.append(tensor)
        self.weight_bytes += tensor.nbytes
        return tensor.data_ptr()

    def _pack(self, projection: Projection, precision: str) -> native.Linear:
        packed = native.PackedLinear(
            self._library, projection.weight, projection.bias, precision, self._threads, self._arena
        )
        self._keep.append(packed)
        self.weight_bytes += packed.bytes
        return packed.struct

    def _fill(self, struct: native.Layer, layer: LayerWeights) -> None:
        spec = self._spec
        struct.qkv = self._pack(stack(layer.query, layer.key, layer.value), self.precision)
        struct.output = self._pack(layer.output, self.precision)
        struct.gate_up = self._pack(interleave(layer.gate, layer.up, self._intermediate), self.precision)
        struct.down = self._pack(pad_depth(layer.down, self._intermediate), self.precision)
        struct.input_norm = self._pinned(layer.input_norm)
        struct.post_attention_norm = self._pinned(layer.post_attention_norm)
        struct.attention_out_norm = self._pinned(layer.attention_out_norm)
        struct.mlp_out_norm = self._pinned(layer.mlp_out_norm)
        attention = struct.attention
        attention.heads, attention.kv_heads = spec.heads, spec.kv_heads
        attention.head_dim, attention.rotary_dim = spec.head_dim, spec.head_dim
        attention.scale, attention.epsilon = spec.attention_scale, spec.epsilon
        attention.cache = self._cache.type
        attention.query_norm = self._pinned(layer.query_norm)
        attention.key_norm = self._pinned(layer.key_norm)

    def _ensure_rows(self, rows: int) -> None:
        if rows <= self._model.max_rows:
            return
        self._library.free_workspace(self._model.workspace)
        self._model.workspace = None
        self._model.max_rows = rows
        workspace = self._library.create_workspace(byref(self._model))
        if not workspace:
            raise MemoryError
        self._model.workspace = workspace

    def allocate_cache(self, blocks: int) -> None:
        spec = self._spec
        self._cache.allocate(blocks)
        positions = min(spec.context_length, blocks * BLOCK_SIZE)
        tables = {name: rope.tables(positions) for name, rope in spec.ropes.items()}
        self._tables = tables
        for index, (struct, layer) in enumerate(zip(self._layers, spec.layers, strict=True)):
            struct.cache = self._cache.layer(index)
            struct.attention.window = layer.window
            cosine, sine = tables[layer.rope] if layer.rope is not None else (None, None)
            struct.attention.cosine = cosine.data_ptr() if cosine is not None else None
            struct.attention.sine = sine.data_ptr() if sine is not None else None

    def copy_block(self, source: int, target: int) -> None:
        self._cache.copy_block(source, target)

    def add_adapter(self, name: str, layers: AdapterLayers) -> None:
        import torch

        table = (native.LoraFactor * (len(self._spec.layers) * len(MODULES)))()
        missing = self._intermediate - self._spec.intermediate
        if missing:  # the inputs of the down projection are padded
            layers = [{**modules} for modules in layers]
            for modules in layers:
                if "down" in modules:
                    a = torch.nn.functional.pad(modules["down"].a, (0, missing)).contiguous()
                    modules["down"] = replace(modules["down"], a=a)
        for index, modules in enumerate(layers):
            for module, factor in modules.items():
                entry = table[index * len(MODULES) + MODULES.index(module)]
                entry.a, entry.b = factor.a.data_ptr(), factor.b.data_ptr()
                entry.rank, entry.columns = factor.b.shape
        self._adapters[name] = (table, ctypes.addressof(table), layers)

    def remove_adapter(self, name: str) -> None:
        del self._adapters[name]

    def start(self, hidden: torch.Tensor, positions: torch.Tensor, slices: Sequence[SequenceSlice]) -> None:
        rows = hidden.shape[0]
        self._ensure_rows(rows)
        tables = array("i")
        offsets = []
        for piece in slices:
            offsets.append(len(tables))
            tables.extend(piece.blocks)
        base, _ = tables.buffer_info()
        structs = (native.Slice * len(slices))()
        for struct, piece, offset in zip(structs, slices, offsets, strict=True):
            struct.start, struct.length, struct.context = piece.start, piece.length, piece.context
            struct.blocks = base + offset * tables.itemsize
        lora = None
        if any(piece.adapter is not None for piece in slices):
            lora = (c_void_p * len(slices))(
                *(self._adapters[piece.adapter][1] if piece.adapter is not None else None for piece in slices)
            )
        call = self._call
        call.hidden, call.positions = hidden.data_ptr(), positions.data_ptr()
        call.slices, call.slice_count, call.rows = ctypes.addressof(structs), len(slices), rows
        call.lora = ctypes.addressof(lora) if lora is not None else None
        self._call_keep = (hidden, positions, tables, structs, lora)

    def run_layers(self, first: int, last: int) -> None:
        self._library.forward_layers(byref(self._model), first, last, byref(self._call))

    def attention_weights(self, layer: int, piece: SequenceSlice) -> torch.Tensor:
        import torch

        spec = self._spec
        total = piece.context + piece.length
        queries = torch.empty(piece.length, spec.heads, spec.head_dim)
        end = piece.start + piece.length
        self._library.read_queries(byref(self._model), piece.start, end, queries.data_ptr())
        keys = self._cache.keys(self._layers[layer].attention, layer, piece.blocks, total)
        grouped = queries.view(piece.length, spec.kv_heads, -1, spec.head_dim).permute(1, 2, 0, 3)
        scores = torch.einsum("kgrd,ktd->kgrt", grouped, keys).reshape(spec.heads, piece.length, total)
        last = torch.arange(piece.length)[:, None] + piece.context
        key = torch.arange(total)[None, :]
        hidden = key > last
        window = spec.layers[layer].window
        if window:
            hidden |= key <= last - window
        return scores.masked_fill(hidden, float("-inf")).softmax(-1)

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        import torch

        logits = torch.empty(hidden.shape[0], self._spec.vocabulary)
        self._library.head(
            byref(self._model),
            byref(self._head),
            self._head_norm,
            hidden.data_ptr(),
            hidden.shape[0],
            logits.data_ptr(),
        )
        return logits

    def close(self) -> None:
        self._library.free_workspace(self._model.workspace)
        self._model.workspace = None
        self._cache.free()
        self._keep.clear()
        self._adapters.clear()
