"""Weights out of a GGUF file, de-quantised piece by piece.

**Which type they are stored in.** Types that are numbers already (F32, F16, BF16) stay what they are. Quantised ones
become float16: a weight is scale x integer (+ minimum) with integers of 2 to 8 bits, and float16's eleven bits keep it
within 1/4096 of its size, that is within 0.2 % of a quantisation step for 4-bit types and 3 % for Q8_0. bfloat16, with
eight bits, would be off by up to a quarter of a step for Q8_0. Where a value does not fit float16's range, the tensor
is kept in float32. What the model computes in is another matter: config.json says bfloat16, because the activations of
Gemma 3 and of some Qwen models overflow float16.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from llmasos.errors import Unsupported
from llmasos.i18n import t
from llmasos.library.formats.gguf.architectures import Change, Placement
from llmasos.library.formats.gguf.header import TensorInfo, damaged
from llmasos.library.formats.gguf.types import SUPPORTED_TYPES
from llmasos.library.formats.safetensors_writer import Planned, TensorSlot

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_PERMUTED = (Change.UNPERMUTE_QUERY, Change.UNPERMUTE_KEY)
_PIECE = 2**19  # weights taken at a time: 2 MB as float32, which stay in the cache until they are written
_WIDTH = 8192  # weights in a row for the gguf package, which works on 16 rows at a time; measured best


def stored_dtype(placement: Placement) -> str:
    """The safetensors dtype that a tensor is written in, unless its values turn out too large for it.

    Raises:
        Unsupported: a type that cannot be read; names the tensor.
    """
    kind = placement.tensor.type
    if kind.name not in SUPPORTED_TYPES:
        raise Unsupported(
            t(
                "tensor {name!r} of {path} has the type {kind}; these can be imported: {known}",
                name=placement.tensor.name,
                path=placement.tensor.path,
                kind=kind.name,
                known=", ".join(sorted(SUPPORTED_TYPES)),
            ),
            hint=t("Fetch the same model in another quantisation, e.g. Q4_K_M or Q8_0."),
        )
    if placement.change is Change.MINUS_ONE:
        return "F32"
    return "F16" if kind.is_quantized else kind.name


def plan(placements: list[Placement]) -> list[Planned]:
    """What will be written, in the order of ``placements``."""
    return [Planned(item.target, stored_dtype(item), item.tensor.shape) for item in placements]


def write_tensor(placement: Placement, slot: TensorSlot) -> None:
    """De-quantise one tensor into its slot.

    Raises:
        IntegrityError: the file ends early, or the tensor has values that are not finite.
    """
    if slot.dtype in ("F16", "BF16") and not placement.tensor.type.is_quantized:
        for raw in _raw_pieces(placement):
            _check_sixteen_bits(placement.tensor, raw, slot.dtype)
            slot.write(_data(raw))
        return
    if slot.dtype == "F16" and _write_halves(placement, slot):
        return
    if slot.dtype != "F32":
        slot.restart("F32")
    for piece in _pieces(placement):
        slot.write(_data(piece))


def _write_halves(placement: Placement, slot: TensorSlot) -> bool:
    """Write as float16; ``False`` if a value is beyond its range."""
    import numpy as np

    for piece in _pieces(placement):
        with np.errstate(over="ignore"):
            halves = piece.astype("<f2")
        if int((halves.view(np.uint16) & 0x7C00).max()) == 0x7C00:  # infinite
            return False
        slot.write(_data(halves))
    return True


def _data(array: NDArray[Any]) -> memoryview:
    import numpy as np

    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _rows_at_a_time(placement: Placement) -> int:
    """Rows per piece: whole heads where rows of a head change places."""
    rows, columns = _matrix(placement.tensor)
    unit = rows // placement.heads if placement.change in _PERMUTED else 1
    return max(_PIECE // (columns * unit), 1) * unit


def _matrix(tensor: TensorInfo) -> tuple[int, int]:
    """Rows and columns; a vector is one column, so that the rows of a permuted bias are its entries."""
    if len(tensor.shape) == 1:
        return (tensor.shape[0], 1) if not tensor.type.is_quantized else (1, tensor.shape[0])
    return tensor.elements // tensor.shape[-1], tensor.shape[-1]


def _read(tensor: TensorInfo, rows: int) -> Iterator[bytes]:
    """The tensor's bytes, ``rows`` rows at a time."""
    total, _ = _matrix(tensor)
    per_row = tensor.size // total
    with tensor.path.open("rb") as file:
        file.seek(tensor.offset)
        for start in range(0, total, rows):
            count = min(rows, total - start) * per_row
            data = file.read(count)
            if len(data) != count:
                raise damaged(tensor.path, t("it became shorter while it was read"), tensor.offset)
            yield data


def _raw_pieces(placement: Placement) -> Iterator[NDArray[np.uint16]]:
    """16-bit floats as they are, with their rows in transformers' order."""
    import numpy as np

    _, columns = _matrix(placement.tensor)
    for data in _read(placement.tensor, _rows_at_a_time(placement)):
        yield _reorder(np.frombuffer(data, "<u2").reshape(-1, columns), placement)


def _pieces(placement: Placement) -> Iterator[Floats]:
    """The weights as float32, finite, with their rows in transformers' order."""
    import numpy as np

    tensor = placement.tensor
    _, columns = _matrix(tensor)
    for data in _read(tensor, _rows_at_a_time(placement)):
        piece = _dequantize(tensor, data).reshape(-1, columns)
        if not np.isfinite(piece).all():
            raise _not_finite(tensor)
        if placement.change is Change.MINUS_ONE:
            piece = piece - np.float32(1)
        yield _reorder(piece, placement)


def _dequantize(tensor: TensorInfo, data: bytes) -> Floats:
    import gguf
    import numpy as np

    kind = tensor.type
    if kind.name == "F32":
        return np.frombuffer(data, "<f4")
    # Blocks do not care where rows end, so they are laid out in rows of the width that the package handles fastest.
    blocks = np.frombuffer(data, np.uint8).reshape(-1, kind.size)
    per_row = next(count for count in range(max(_WIDTH // kind.block, 1), 0, -1) if len(blocks) % count == 0)
    with np.errstate(invalid="ignore", over="ignore"):  # a damaged scale; the caller refuses what comes of it
        values = gguf.dequantize(blocks.reshape(-1, per_row * kind.size), gguf.GGMLQuantizationType(kind.number))
    result: Floats = values
    return result


def _reorder(piece: NDArray[Any], placement: Placement) -> NDArray[Any]:
    """Undo llama.cpp's order of rows: within a head (first half, second half) became pairs (conversion/llama.py)."""
    if placement.change not in _PERMUTED:
        return piece
    rows, columns = piece.shape
    head = _matrix(placement.tensor)[0] // placement.heads
    return piece.reshape(rows // head, head // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _check_sixteen_bits(tensor: TensorInfo, raw: NDArray[np.uint16], dtype: str) -> None:
    exponent = 0x7C00 if dtype == "F16" else 0x7F80
    if int((raw & exponent).max()) == exponent:
        raise _not_finite(tensor)


def _not_finite(tensor: TensorInfo) -> Exception:
    return damaged(
        tensor.path, t("tensor {name!r} has values that are not finite numbers", name=tensor.name), tensor.offset
    )
