"""The runner whose cache holds tokens, decoding over static shapes: any mistake of padding changes the output."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from llmasos.engine.batch import Batch
from llmasos.engine.graphs.capture import PlainCalls
from llmasos.engine.graphs.decode import StaticDecode


def over_static_shapes(base: type[Any]) -> type[Any]:
    """``base`` with its decoding passes run by :class:`StaticDecode`."""

    class StaticTokenRunner(base):  # type: ignore[misc]
        device = "cpu"
        static_rows = 8

        def allocate_cache(self, blocks: int) -> None:
            super().allocate_cache(blocks + 1)
            self.scratch = blocks
            self.static = StaticDecode(
                self, PlainCalls("cpu"), rows=self.static_rows, columns=blocks, scratch=blocks, max_graphs=5,
                max_bytes=None,
            )  # fmt: skip

        def forward(self, batch: Batch) -> torch.Tensor:
            assert all(self.scratch not in piece.blocks for piece in batch.sequences), "the scratch block leaked"
            logits = self.static.forward(batch)
            if logits is None:
                return super().forward(batch)
            assert not any(piece.adapter or piece.steering for piece in batch.sequences)
            self.passes += 1
            self.rows += len(batch.tokens)
            self.batches.append([(piece.sequence_id, piece.length) for piece in batch.sequences])
            return self.fault(batch, logits) if self.fault is not None else logits

        def static_logits(self, tokens: torch.Tensor, positions: torch.Tensor, tables: torch.Tensor) -> torch.Tensor:
            name = self.name_of(None)
            rows = list(zip(tokens.tolist(), positions.tolist(), tables.tolist(), strict=True))
            for token, position, table in rows:
                block, offset = divmod(position, self.block_size)
                self.cache[table[block], offset] = token, position, name
            logits = np.full((len(rows), self.vocabulary_size), np.nan, dtype=np.float32)  # of padding
            for row, (_, position, table) in enumerate(rows):
                if table[0] == self.scratch:
                    assert set(table) == {self.scratch} and position == 0
                    continue
                assert self.scratch not in table
                count = position + 1
                stored = self.cache[table[: -(-count // self.block_size)]].reshape(-1, 3)[:count]
                assert (stored[:, 1] == np.arange(count)).all(), "the cache does not hold these positions"
                assert (stored[:, 2] == name).all(), "the cache holds what another adapter computed"
                logits[row] = self.logits_of(stored[:, 0], name)
            return torch.from_numpy(logits)

    return StaticTokenRunner
