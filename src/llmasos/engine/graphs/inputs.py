"""What a decoding pass needs to know, in buffers whose addresses never change."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from llmasos.engine.batch import Batch
    from llmasos.engine.graphs.buckets import Shape
    from llmasos.engine.graphs.capture import Staging


def columns_of(batch: Batch, block_size: int) -> int:
    """Blocks of the longest sequence of a batch."""
    return max(-(-(piece.context + piece.length) // block_size) for piece in batch.sequences)


class StaticInputs:
    """Token ids, positions and block tables of any shape, in one buffer that is uploaded in one piece.

    Where keys are written and how many are read follows from positions and tables, and is computed on the device. The
    shapes share the buffer: a pass uses the beginning of it.
    """

    def __init__(self, staging: Staging, block_size: int, scratch: int) -> None:
        """``scratch``: the block that rows of padding read and write."""
        self._staging = staging
        self._host = staging.host.numpy()
        self._block_size, self._scratch = block_size, scratch

    @staticmethod
    def size(shape: Shape) -> int:
        """Numbers that a pass of this shape takes."""
        return shape.rows * (2 + shape.columns)

    def views(self, shape: Shape) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Token ids (rows,), positions (rows,) and block tables (rows, columns) on the device, all int64."""
        rows = shape.rows
        flat = self._staging.device[: self.size(shape)]
        return flat[:rows], flat[rows : 2 * rows], flat[2 * rows :].view(rows, shape.columns)

    def fill(self, shape: Shape, batch: Batch | None) -> None:
        """Upload a batch, every row of it a row of its own; the rest, or all without a batch, is padding."""
        rows = shape.rows
        used = 0 if batch is None else len(batch.tokens)
        self._staging.reclaim()
        flat = self._host[: self.size(shape)]
        tokens, positions, tables = flat[:rows], flat[rows : 2 * rows], flat[2 * rows :].reshape(rows, shape.columns)
        tokens[used:] = 0
        positions[used:] = 0
        tables[used:] = self._scratch
        if batch is not None:
            tokens[:used] = batch.tokens.numpy()
            positions[:used] = batch.positions.numpy()
            for piece in batch.sequences:
                count = -(-(piece.context + piece.length) // self._block_size)
                own = tables[piece.start : piece.start + piece.length]
                own[:, :count] = piece.blocks[:count]
                own[:, count:] = piece.blocks[0]  # never a neighbour's or the scratch block: see DecodeAttention
        self._staging.upload(flat.size)
