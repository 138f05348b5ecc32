"""Binding of the native kernels: finds, checks and calls the compiled library."""

from __future__ import annotations

import ctypes
import logging
from ctypes import POINTER, Structure, byref, c_char_p, c_float, c_int, c_int32, c_int64, c_size_t, c_void_p
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos.engine.kernels import build
from llmasos.engine.kernels.memory import Arena
from llmasos.hardware import processor
from llmasos.settings import home_directory

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

WEIGHT_TYPES = {"int8": 0, "int4": 1, "bf16": 2}
CACHE_TYPES = {"bfloat16": 0, "int8": 1}
PANEL = 32  # columns that lie together in packed weights
PIECE_BYTES = 16 << 20  # of float32 weights that are packed at a time
ACTIVATIONS = {"silu": 0, "gelu_tanh": 1}
INSTRUCTION_SETS = {"avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16"}
MODULES = ("query", "key", "value", "output", "gate", "up", "down")


class Linear(Structure):
    """Packed weights of one matrix product."""

    _fields_ = [
        ("weight", c_void_p),
        ("scale", c_void_p),
        ("bias", c_void_p),
        ("columns", c_int32),
        ("depth", c_int32),
        ("type", c_int32),
        ("block", c_int32),
    ]


class Attention(Structure):
    """Shape, rotation tables and norms of one layer's attention."""

    _fields_ = [
        ("heads", c_int32),
        ("kv_heads", c_int32),
        ("head_dim", c_int32),
        ("rotary_dim", c_int32),
        ("window", c_int32),
        ("cache", c_int32),
        ("scale", c_float),
        ("epsilon", c_float),
        ("cosine", c_void_p),
        ("sine", c_void_p),
        ("query_norm", c_void_p),
        ("key_norm", c_void_p),
    ]


class LayerCache(Structure):
    """One layer's keys and values of block 0, and the way to the next block."""

    _fields_ = [("keys", c_void_p), ("values", c_void_p), ("block_bytes", c_int64)]


class Layer(Structure):
    """One decoder layer with its part of the cache."""

    _fields_ = [
        ("qkv", Linear),
        ("output", Linear),
        ("gate_up", Linear),
        ("down", Linear),
        ("input_norm", c_void_p),
        ("post_attention_norm", c_void_p),
        ("attention_out_norm", c_void_p),
        ("mlp_out_norm", c_void_p),
        ("attention", Attention),
        ("cache", LayerCache),
    ]


class Model(Structure):
    """The stack of layers and its workspace."""

    _fields_ = [
        ("layers", POINTER(Layer)),
        ("hidden", c_int32),
        ("intermediate", c_int32),
        ("activation", c_int32),
        ("max_rows", c_int32),
        ("epsilon", c_float),
        ("threads", c_int32),
        ("workspace", c_void_p),
    ]


class Slice(Structure):
    """Rows of one sequence and its block table."""

    _fields_ = [("start", c_int32), ("length", c_int32), ("context", c_int32), ("blocks", c_void_p)]


class LoraFactor(Structure):
    """The two factors of one adapted projection, bfloat16."""

    _fields_ = [("a", c_void_p), ("b", c_void_p), ("rank", c_int32), ("columns", c_int32)]


class BatchCall(Structure):
    """Arguments of a forward pass."""

    _fields_ = [
        ("hidden", c_void_p),
        ("positions", c_void_p),
        ("slices", c_void_p),
        ("rows", c_int32),
        ("slice_count", c_int32),
        ("lora", c_void_p),
    ]


_STRUCTURES = (Linear, Attention, Layer, Model, BatchCall, Slice, LoraFactor, LayerCache)


class NativeLibrary:
    """The functions of the compiled library with their argument types."""

    def __init__(self, path: Path) -> None:
        import torch  # noqa: F401 - torch's OpenMP runtime must be the one in the process before ours is bound

        library = ctypes.CDLL(str(path))
        self.path = path
        struct_size = library.llmasos_struct_size
        struct_size.restype = c_size_t
        for index, structure in enumerate(_STRUCTURES):
            assert struct_size(index) == ctypes.sizeof(structure), structure
        self.packed_bytes = library.llmasos_packed_bytes
        self.packed_bytes.restype = c_size_t
        self.transform_block = library.llmasos_transform_block
        self.cache_head_bytes = library.llmasos_cache_head_bytes
        self.cache_head_bytes.restype = c_size_t
        self.pack = library.llmasos_pack
        self.pack.argtypes = [c_void_p, c_int, c_int, c_int, c_void_p, c_void_p, c_int]
        self.pack.restype = None
        self.create_workspace = library.llmasos_create_workspace
        self.create_workspace.argtypes = [POINTER(Model)]
        self.create_workspace.restype = c_void_p
        self.free_workspace = library.llmasos_free_workspace
        self.free_workspace.argtypes = [c_void_p]
        self.free_workspace.restype = None
        self.read_queries = library.llmasos_read_queries
        self.read_queries.argtypes = [POINTER(Model), c_int, c_int, c_void_p]
        self.read_queries.restype = None
        self.read_keys = library.llmasos_read_keys
        self.read_keys.argtypes = [POINTER(Attention), POINTER(LayerCache), c_void_p, c_int, c_void_p]
        self.read_keys.restype = None
        self.forward_layers = library.llmasos_forward_layers
        self.forward_layers.argtypes = [POINTER(Model), c_int, c_int, POINTER(BatchCall)]
        self.forward_layers.restype = None
        self.head = library.llmasos_head
        self.head.argtypes = [POINTER(Model), POINTER(Linear), c_void_p, c_void_p, c_int, c_void_p]
        self.head.restype = None
        self._linear = library.llmasos_linear
        self._linear.argtypes = [POINTER(Linear), c_void_p, c_int, c_void_p, c_int]
        self.attention = library.llmasos_attention
        self.attention.argtypes = [POINTER(Attention), POINTER(LayerCache), c_void_p, c_void_p, c_void_p, c_int, c_int,
                                   c_void_p, c_int]  # fmt: skip


def packed_size(library: NativeLibrary, columns: int, depth: int, precision: str) -> int:
    """Bytes of a packed matrix, scales not included."""
    return int(library.packed_bytes(columns, depth, WEIGHT_TYPES[precision]))


class PackedLinear:
    """A matrix in the kernels' layout; owns or keeps alive the memory that :attr:`struct` points to."""

    def __init__(
        self,
        library: NativeLibrary,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        precision: str,
        threads: int,
        arena: Arena | None = None,
    ) -> None:
        """Pack ``weight`` (columns, depth) and ``bias`` (columns,) or ``None`` into ``arena`` or memory of its own.

        A piece at a time, so that a large matrix is never there in float32 as a whole.
        """
        import torch

        columns, depth = weight.shape
        size = packed_size(library, columns, depth, precision)
        padded = (columns + 31) // 32 * 32
        self.memory = (arena or Arena(Arena.room(size))).take(size)
        self.scale = torch.zeros(padded)
        self.bias = None
        if bias is not None:
            self.bias = torch.zeros(padded)
            self.bias[:columns] = bias
        pointer, kind = self.memory.data_ptr(), WEIGHT_TYPES[precision]
        panel = packed_size(library, PANEL, depth, precision)
        step = max(PIECE_BYTES // (4 * depth * PANEL), 1) * PANEL
        for begin in range(0, columns, step):
            piece = weight[begin : begin + step].to(torch.float32, copy=True).contiguous()  # packing changes it
            target, scale = pointer + begin // PANEL * panel, self.scale.data_ptr() + begin * 4
            library.pack(piece.data_ptr(), len(piece), depth, kind, target, scale, threads)
        self.bytes = size + padded * 4
        self.struct = Linear(
            pointer,
            self.scale.data_ptr(),
            self.bias.data_ptr() if self.bias is not None else None,
            columns,
            depth,
            kind,
            library.transform_block(depth, kind),
        )


def linear(library: NativeLibrary, packed: PackedLinear, x: torch.Tensor, threads: int) -> torch.Tensor:
    """``x`` (rows, depth) float32 times the packed matrix: (rows, columns) float32."""
    import torch

    x = x.float().contiguous()
    out = torch.empty(x.shape[0], packed.struct.columns)
    if library._linear(byref(packed.struct), x.data_ptr(), x.shape[0], out.data_ptr(), threads):
        raise MemoryError
    return out


@lru_cache
def load() -> NativeLibrary | None:
    """The library, or ``None`` where the processor cannot run it or it cannot be built; the reason is logged.

    A library compiled from other sources than these (an update of an editable install) is never used: it is built anew
    in the cache of the home folder, once.
    """
    missing = INSTRUCTION_SETS.difference(processor().instruction_sets)
    if missing:
        logger.info("native kernels need %s, which this processor lacks", ", ".join(sorted(missing)))
        return None
    digest = build.source_digest()
    cached = home_directory() / "cache" / "kernels" / digest / build.LIBRARY_NAME
    for path in (Path(__file__).parent / build.LIBRARY_NAME, cached):
        if path.exists() and compiled_digest(path) == digest:
            return NativeLibrary(path)
    try:
        return NativeLibrary(build.build(cached))
    except (build.BuildError, OSError) as error:
        logger.info("native kernels are not available: %s", error)
        return None


def compiled_digest(path: Path) -> str:
    """Identity of the sources that a library file was compiled from; empty if it is none of ours."""
    import torch  # noqa: F401 - see NativeLibrary

    library = ctypes.CDLL(str(path))
    if not hasattr(library, "llmasos_source_digest"):
        return ""
    library.llmasos_source_digest.restype = c_char_p
    return (library.llmasos_source_digest() or b"").decode()
