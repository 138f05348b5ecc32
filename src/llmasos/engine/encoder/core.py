"""The encoder engine on one thread: whatever waits when a pass ends forms the next batch."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from llmasos.engine.core import RUNNER_FAULTS
from llmasos.engine.encoder.grouping import Length, choose_batch
from llmasos.engine.request import Delta, FinishReason, Request, Usage
from llmasos.engine.service import Emit
from llmasos.engine.waiting import Deadlines, WaitingLine
from llmasos.i18n import t

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from llmasos.modeling.backend import EncoderInput, EncoderNetwork

logger = logging.getLogger(__name__)


class ActiveInput:
    """A text between its submission and its only delta."""

    __slots__ = ("arrival", "emit", "input", "length", "request", "request_id", "started", "truncated")

    def __init__(
        self, request: Request, request_id: str, item: EncoderInput, length: Length, *, truncated: int, emit: Emit
    ) -> None:
        self.request = request
        self.request_id = request_id
        self.input = item
        self.length = length
        self.truncated = truncated
        self.emit = emit
        self.arrival = time.monotonic()
        self.started: float | None = None

    @property
    def deadline(self) -> float | None:
        """See :attr:`~llmasos.engine.request.Request.deadline`."""
        return self.request.deadline

    def publish(
        self, reason: FinishReason, *, values: NDArray[np.float32] | None = None, error: str | None = None
    ) -> None:
        """Send the delta."""
        now = time.monotonic()
        usage = Usage(
            prompt_tokens=len(self.input.ids),
            completion_tokens=0,
            truncated_tokens=self.truncated,
            queue_seconds=(self.started or now) - self.arrival,
            total_seconds=now - self.arrival,
        )
        self.emit(Delta(self.request_id, 0, finish_reason=reason, error=error, values=values, usage=usage))


class EncoderCore:
    """Line, batches and network. All methods belong to the inference thread."""

    def __init__(self, network: EncoderNetwork, *, most_tokens: int, most_rows: int, aging: float) -> None:
        self._network = network
        self._most_tokens = most_tokens
        self._most_rows = most_rows
        self.line: WaitingLine[ActiveInput] = WaitingLine(aging)
        self._deadlines: Deadlines[ActiveInput] = Deadlines()
        self.running = 0
        self.passes = 0
        self.rows = 0
        self.prompt_tokens = 0
        self.texts = 0

    @property
    def idle(self) -> bool:
        """Whether there is nothing to compute."""
        return not self.line

    def add(self, active: ActiveInput) -> None:
        """Queue a text."""
        self.line.add(active, active.request.priority)
        self._deadlines.add(active)

    def end(self, active: ActiveInput, reason: FinishReason, error: str | None = None) -> None:
        """End a text that waits; nothing happens if it has its answer."""
        if active in self.line:
            self._take(active)
            active.publish(reason, error=error)

    def end_all(self, reason: FinishReason, error: str | None = None) -> None:
        """End every text."""
        for active in self.line:
            self.end(active, reason, error)

    def _take(self, active: ActiveInput) -> None:
        self.line.remove(active)
        self._deadlines.discard(active)

    def step(self) -> None:
        """One pass over the texts that go together best with the first in line."""
        now = time.monotonic()
        for late in self._deadlines.late(now):
            self.end(late, "deadline")
        waiting = list(self.line)
        if not waiting:
            return
        places = choose_batch(
            [active.length for active in waiting], most_tokens=self._most_tokens, most_rows=self._most_rows
        )
        batch = [waiting[place] for place in places]
        for active in batch:
            self._take(active)
            active.started = now
        self.running = len(batch)
        try:
            found = self._network.forward([active.input for active in batch])
        except RUNNER_FAULTS as error:
            logger.error("a pass over %d texts failed", len(batch), exc_info=error)
            message = t("the model failed while computing: {error}", error=f"{type(error).__name__}: {error}")
            for active in batch:
                active.publish("error", error=message)
            return
        finally:
            self.running = 0
        self.passes += 1
        self.texts += len(batch)
        self.prompt_tokens += sum(active.length.tokens for active in batch)
        self.rows += len(batch) * max(active.length.tokens for active in batch)
        for active, values in zip(batch, found, strict=True):
            active.publish("stop", values=values)

    def close(self) -> None:
        """Free the weights."""
        self._network.close()
