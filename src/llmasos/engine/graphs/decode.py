"""Decoding passes in a few static shapes: padded, captured once per shape, replayed.

The shape of a pass is (rows, columns of the block tables), each rounded up to a bucket. Rows of padding belong to no
sequence: they read and write a scratch block that the engine does not know of, and their logits are cut off.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from llmasos import progress
from llmasos.engine.graphs.buckets import Buckets, Shape
from llmasos.engine.graphs.inputs import StaticInputs, columns_of
from llmasos.i18n import t
from llmasos.units import format_bytes

if TYPE_CHECKING:
    import torch

    from llmasos.engine.batch import Batch
    from llmasos.engine.graphs.capture import GraphCapture, Step

logger = logging.getLogger(__name__)

LONGEST_SLICE = 8
"""Rows of one sequence that are taken as rows like others. Each gathers the sequence's keys anew, so long pieces of
prompts and long drafts are cheaper in a pass of their own shape."""


@dataclass(slots=True)
class DecodeCounts:
    """What has been run how since the cache was allocated."""

    static_passes: int = 0
    eager_passes: int = 0
    """Passes with prompts, adapters, interventions or a shape that is not captured."""
    captured: int = 0
    forgotten: int = 0
    """Shapes that made room for others."""
    refused: int = 0
    """Shapes that cannot be captured, or would take too much memory; they run eagerly."""
    graphs: int = 0
    """Shapes ready now."""
    graph_bytes: int = 0


class StaticModel(Protocol):
    """A model that computes a pass from tensors of fixed shapes alone."""

    block_size: int
    vocabulary_size: int
    device: str

    def static_logits(self, tokens: torch.Tensor, positions: torch.Tensor, tables: torch.Tensor) -> torch.Tensor:
        """(rows,), (rows,), (rows, columns) int64 on the device -> (rows, vocabulary) float32. Must not ask the device
        for a value, nor depend on anything else that changes from pass to pass."""


class StaticDecode:
    """Takes the passes that fit a shape; see the module."""

    def __init__(
        self,
        model: StaticModel,
        capture: GraphCapture,
        *,
        rows: int,
        columns: int,
        scratch: int,
        max_graphs: int,
        max_bytes: int | None,
    ) -> None:
        """Args:
        rows: most rows of a pass.
        columns: most blocks of a sequence.
        scratch: the block of the cache that padding may use.
        max_graphs: shapes kept at a time.
        max_bytes: memory that the captured steps may take together; ``None``: what the device suggests.
        """
        import torch

        self._model, self._capture = model, capture
        self._max_graphs, self._max_bytes = max_graphs, capture.budget if max_bytes is None else max_bytes
        self.buckets = Buckets.up_to(rows, columns)
        staging = capture.staging(StaticInputs.size(Shape(rows, columns)))
        self._inputs = StaticInputs(staging, model.block_size, scratch)
        # Logits go to a buffer outside of the graphs, so that these may share their memory.
        self._logits = torch.zeros(rows, model.vocabulary_size, dtype=torch.float32, device=model.device)
        self._steps: OrderedDict[Shape, Step] = OrderedDict()
        self._refused: list[Shape] = []
        self.counts = DecodeCounts()

    def forward(self, batch: Batch) -> torch.Tensor | None:
        """The logits of the wanted rows, or ``None`` for a pass that has to be computed eagerly."""
        shape = self._shape(batch)
        step = None if shape is None else self._step(shape)
        if shape is None or step is None:
            self.counts.eager_passes += 1
            return None
        self._inputs.fill(shape, batch)
        step()
        self.counts.static_passes += 1
        rows, wanted = len(batch.tokens), batch.logits_rows
        if len(wanted) == rows:
            return self._logits[:rows]
        return self._logits[wanted.to(self._logits.device)]

    def _shape(self, batch: Batch) -> Shape | None:
        for piece in batch.sequences:
            if piece.length > LONGEST_SLICE or piece.adapter is not None or piece.steering is not None:
                return None
        return self.buckets.fit(len(batch.tokens), columns_of(batch, self._model.block_size))

    def _step(self, shape: Shape) -> Step | None:
        step = self._steps.get(shape)
        if step is not None:
            self._steps.move_to_end(shape)
            return step
        if any(small.rows <= shape.rows and small.columns <= shape.columns for small in self._refused):
            return None  # what was too much for less is not tried again
        return self._prepare(shape)

    def _prepare(self, shape: Shape) -> Step | None:
        """Capture a shape, on padding alone: what is tried out must not touch anybody's keys."""
        views = self._inputs.views(shape)
        logits = self._logits[: shape.rows]

        def run() -> None:
            logits.copy_(self._model.static_logits(*views))

        self._inputs.fill(shape, None)
        try:
            step = self._capture.capture(run)
        except RuntimeError as error:
            self._refuse(shape, f"it cannot be captured: {error}")
            return None
        taken, allowed = self._capture.bytes, self._max_bytes
        if allowed is not None and taken > allowed:
            del step
            self._refuse(shape, f"graphs would take {format_bytes(taken)}, allowed are {format_bytes(allowed)}")
            return None
        self._steps[shape] = step
        self.counts.captured += 1
        while len(self._steps) > self._max_graphs:
            self._steps.popitem(last=False)
            self.counts.forgotten += 1
        self.counts.graphs, self.counts.graph_bytes = len(self._steps), taken
        return step

    def _refuse(self, shape: Shape, reason: str) -> None:
        """Run a shape eagerly from now on. Memory goes back with all graphs only; smaller ones are captured anew."""
        self._refused.append(shape)
        self.counts.refused += 1
        self.counts.forgotten += len(self._steps)
        self.release()
        logger.warning(
            "passes from %d rows and %d tokens of context run eagerly: %s",
            shape.rows, shape.columns * self._model.block_size, reason,
        )  # fmt: skip

    def prepare_all(self) -> None:
        """Capture the shapes before they are needed, the largest first, whose memory the others then share."""
        shapes = self.buckets.shapes()[: self._max_graphs]
        label = t("prepare {count} shapes for decoding", count=len(shapes))
        with progress.current().task(label, total=len(shapes)) as task:
            for shape in reversed(shapes):
                self._step(shape)
                task.advance()

    def release(self) -> None:
        """Forget all shapes and give their memory back."""
        self._steps.clear()
        self._capture.release()
        self.counts.graphs = self.counts.graph_bytes = 0
