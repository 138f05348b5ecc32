"""A map of attention as a picture: one pixel for each pair of tokens, darker where more attention went."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Seen on light and on dark; the map's values are its opacity.
COLOUR = (13, 148, 136)
_MOST_PIXELS = 128


def picture(weights: NDArray[np.float32], *, most_pixels: int = _MOST_PIXELS) -> str:
    """A square map as the address of a PNG. Larger maps shrink: a pixel shows the most of those it stands for."""
    import numpy as np

    shown = _shrunk(weights, most_pixels)
    peak = float(shown.max(initial=0.0))
    # The root lets small shares be seen beside large ones.
    opacity = np.sqrt(shown / peak) if peak > 0 else np.zeros_like(shown)
    pixels = np.rint(opacity * 255).astype(np.uint8)
    return "data:image/png;base64," + base64.b64encode(_png(pixels)).decode()


def _shrunk(weights: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    import numpy as np

    size = len(weights)
    step = -(-size // most)
    if step == 1:
        return weights
    whole = -(-size // step) * step
    padded = np.zeros((whole, whole), np.float32)
    padded[:size, :size] = weights
    found: NDArray[np.float32] = padded.reshape(whole // step, step, whole // step, step).max((1, 3))
    return found


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """With a palette of one colour in 256 opacities (PNG, third edition: PLTE and tRNS)."""
    size = len(pixels)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + b"".join([
        _chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 3, 0, 0, 0)),
        _chunk(b"PLTE", bytes(COLOUR) * 256), _chunk(b"tRNS", bytes(range(256))),
        _chunk(b"IDAT", zlib.compress(rows, 1)), _chunk(b"IEND", b""),
    ])  # fmt: skip


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
