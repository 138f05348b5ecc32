"""Decoder layers on the native kernels: int8, int4 or bfloat16 weights, bfloat16 paged cache."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from ctypes import POINTER, byref, c_void_p
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmasos.engine.kernels import native
from llmasos.engine.kernels.decoder import BLOCK_SIZE, MODULES, AdapterLayers, Precision
from llmasos.engine.kernels.memory import Arena, huge_buffer
from llmasos.errors import OutOfMemory, Unsupported
from llmasos.hardware import memory
from llmasos.i18n import t
from llmasos.units import format_bytes

if TYPE_CHECKING:
    import torch

    from llmasos.engine.architecture import DecoderSpec
    from llmasos.engine.batch import SequenceSlice
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
        max_rows: int = 512,
    ) -> None:

        if precision == "fp32":
            raise Unsupported(t("the native kernels compute in int8, int4 or bf16, not in fp32"))
        self._library, self._spec, self._threads = library, spec, threads
        self.precision: Precision = precision
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
        self.bytes_per_block = len(spec.layers) * 2 * spec.kv_heads * spec.head_dim * BLOCK_SIZE * 2
        self._cache: torch.Tensor | None = None
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
        struct.qkv = self._pack(_stack(layer.query, layer.key, layer.value), self.precision)
        struct.output = self._pack(layer.output, self.precision)
        struct.gate_up = self._pack(_interleave(layer.gate, layer.up, self._intermediate), self.precision)
        struct.down = self._pack(_pad_depth(layer.down, self._intermediate), self.precision)
        struct.input_norm = self._pinned(layer.input_norm)
        struct.post_attention_norm = self._pinned(layer.post_attention_norm)
        struct.attention_out_norm = self._pinned(layer.attention_out_norm)
        struct.mlp_out_norm = self._pinned(layer.mlp_out_norm)
        attention = struct.attention
        attention.heads, attention.kv_heads = spec.heads, spec.kv_heads
        attention.head_dim, attention.rotary_dim = spec.head_dim, spec.head_dim
        attention.scale, attention.epsilon = spec.attention_scale, spec.epsilon
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
        import torch

        spec = self._spec
        needed = blocks * self.bytes_per_block
        available = memory().available
        if needed > available:
            raise OutOfMemory(
                t(
                    "a KV cache of {blocks} blocks needs {needed}, {available} are free",
                    blocks=blocks,
                    needed=format_bytes(needed),
                    available=format_bytes(available),
                ),
                needed=needed,
                available=available,
            )
        self._cache = None
        head_block = spec.head_dim * BLOCK_SIZE
        # (layers, keys and values, blocks, kv heads * head block); see attention.h for the order inside a head's block.
        shape = (len(spec.layers), 2, blocks, spec.kv_heads * head_block)
        cache = huge_buffer(needed).view(torch.bfloat16).view(shape)
        self._cache = cache
        positions = min(spec.context_length, blocks * BLOCK_SIZE)
        tables = {name: rope.tables(positions) for name, rope in spec.ropes.items()}
        self._tables = tables
        for index, (struct, layer) in enumerate(zip(self._layers, spec.layers, strict=True)):
            struct.keys, struct.values = cache[index, 0].data_ptr(), cache[index, 1].data_ptr()
            struct.attention.window = layer.window
            cosine, sine = tables[layer.rope] if layer.rope is not None else (None, None)
            struct.attention.cosine = cosine.data_ptr() if cosine is not None else None
            struct.attention.sine = sine.data_ptr() if sine is not None else None

    def copy_block(self, source: int, target: int) -> None:
        assert self._cache is not None
        self._cache[:, :, target] = self._cache[:, :, source]

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

        assert self._cache is not None
        spec = self._spec
        rows = self._call.rows
        raw = (ctypes.c_uint16 * (rows * spec.heads * spec.head_dim)).from_address(
            self._library.queries(self._model.workspace)
        )
        queries = torch.frombuffer(raw, dtype=torch.bfloat16).view(rows, spec.heads, spec.head_dim)
        queries = queries[piece.start : piece.start + piece.length].float()
        total = piece.context + piece.length
        count = (total + BLOCK_SIZE - 1) // BLOCK_SIZE
        # keys: (blocks, kv heads, dim / 2, tokens, 2) -> (kv heads, blocks * tokens, dim)
        keys = self._cache[layer, 0, piece.blocks[:count]].view(count, spec.kv_heads, spec.head_dim // 2, BLOCK_SIZE, 2)
        keys = keys.permute(1, 0, 3, 2, 4).reshape(spec.kv_heads, count * BLOCK_SIZE, spec.head_dim)[:, :total].float()
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
        self._cache = None
        self._keep.clear()
        self._adapters.clear()


def _stack(*projections: Projection) -> Projection:
    import torch

    from llmasos.engine.weights import Projection

    weight = torch.cat([item.weight for item in projections])
    if all(item.bias is None for item in projections):
        return Projection(weight)
    biases = [item.bias if item.bias is not None else torch.zeros(item.weight.shape[0]) for item in projections]
    return Projection(weight, torch.cat(biases))


def _interleave(gate: Projection, up: Projection, intermediate: int) -> Projection:
    """Columns in groups of 16, gate and up in turn, so that one tile holds both halves of the gated product."""
    import torch

    from llmasos.engine.weights import Projection

    def pad(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.shape[0] == intermediate:
            return tensor.view(intermediate // 16, 16, *tensor.shape[1:])
        padded = torch.zeros(intermediate, *tensor.shape[1:])
        padded[: tensor.shape[0]] = tensor
        return padded.view(intermediate // 16, 16, *tensor.shape[1:])

    weight = torch.stack([pad(gate.weight), pad(up.weight)], 1).view(2 * intermediate, -1)
    if gate.bias is None and up.bias is None:
        return Projection(weight)
    zeros = torch.zeros(gate.weight.shape[0])
    biases = [pad(item.bias if item.bias is not None else zeros) for item in (gate, up)]
    return Projection(weight, torch.stack(biases, 1).view(-1))


def _pad_depth(projection: Projection, depth: int) -> Projection:
    import torch

    from llmasos.engine.weights import Projection

    missing = depth - projection.weight.shape[1]
    return (
        Projection(torch.nn.functional.pad(projection.weight, (0, missing)), projection.bias) if missing else projection
    )
