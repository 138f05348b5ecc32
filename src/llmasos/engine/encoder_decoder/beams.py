"""Beam search for many callers: those that wait when one search ends go into the next together.

The search itself is transformers' ``generate``, on a thread of its own beside the decoder steps of the engine.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from llmasos.engine.core import RUNNER_FAULTS
from llmasos.engine.request import FinishReason
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.engine.encoder_decoder.core import ActiveOutputs
    from llmasos.modeling.backend import GenerationRequest
    from llmasos.modeling.results import Delta
    from llmasos.modeling.transformers_backend import TransformersBackend

logger = logging.getLogger(__name__)


class BeamSearcher:
    """Collects requests for beam search and runs them in batches. Methods may be called from any thread."""

    def __init__(self, backend: TransformersBackend, aging: float) -> None:
        self._backend = backend
        self._aging = aging
        self._changed = threading.Condition()
        self._waiting: list[tuple[ActiveOutputs, GenerationRequest]] = []
        self._running: list[ActiveOutputs] = []
        self._closing = False
        self._thread: threading.Thread | None = None
        self.searches = 0
        self.prompt_tokens = 0
        self.output_tokens = 0

    @property
    def running(self) -> int:
        """Requests in the search under way."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests for the next one."""
        return len(self._waiting)

    def add(self, active: ActiveOutputs, request: GenerationRequest) -> None:
        """Queue a request."""
        with self._changed:
            self._waiting.append((active, request))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="llmasos-beams", daemon=True)
                self._thread.start()
            self._changed.notify()

    def end(self, active: ActiveOutputs, reason: FinishReason, error: str | None = None) -> None:
        """End a request; a search under way stops when nobody wants any of its results."""
        with self._changed:
            self._waiting = [entry for entry in self._waiting if entry[0] is not active]
            if active in self._running:
                self._running.remove(active)
            if active.unfinished and active.outputs:
                active.outputs[0].finish(reason, error=error)
                active.publish(active.outputs[0])
                active.dismiss()

    def end_all(self, reason: FinishReason, error: str | None = None) -> None:
        """End every request."""
        with self._changed:
            for active in [*(active for active, _ in self._waiting), *self._running]:
                self.end(active, reason, error)

    def close(self) -> None:
        """Stop the thread, if there is one, after a search under way."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if self._closing:
                    return
                batch = self._next()
                self._running = [active for active, _ in batch]
            if batch:
                self._search(batch)

    def _next(self) -> list[tuple[ActiveOutputs, GenerationRequest]]:
        """The batch of the first in line; those whose time is up end."""
        now = time.monotonic()
        for active, _ in list(self._waiting):
            if active.deadline is not None and active.deadline <= now:
                self.end(active, "deadline")
        line = sorted(self._waiting, key=lambda entry: entry[0].arrival - entry[0].request.priority * self._aging)
        if not line:
            return []
        group = next(group for group in self._backend.group([request for _, request in line]) if 0 in group)
        batch = [line[index] for index in group]
        self._waiting = [entry for entry in line if entry not in batch]
        return batch

    def _search(self, batch: list[tuple[ActiveOutputs, GenerationRequest]]) -> None:
        now = time.monotonic()
        for active, _ in batch:
            active.first_scheduled = now
        wanted = lambda: bool(self._running) and not self._closing  # noqa: E731
        try:
            found = self._backend.search([request for _, request in batch], wanted)
        except RUNNER_FAULTS as error:
            logger.error("a beam search over %d requests failed", len(batch), exc_info=error)
            message = t("the model failed while computing: {error}", error=f"{type(error).__name__}: {error}")
            for active, _ in batch:
                self.end(active, "error", message)
            return
        self.searches += 1
        with self._changed:
            for (active, _), delta in zip(batch, found, strict=True):
                self.prompt_tokens += len(active.prompt_ids)
                self.output_tokens += len(delta.token_ids)
                if active in self._running:
                    self._deliver(active, delta)
            self._running = []

    @staticmethod
    def _deliver(active: ActiveOutputs, delta: Delta) -> None:
        output = active.outputs[0]
        output.tokens, output.text = list(delta.token_ids), delta.text
        output.finish_reason, output.stop = delta.finish_reason, delta.stop
        for token in delta.token_ids:
            output.sampling.append(token)
        active.first_token = time.monotonic()
        active.publish(output)
        active.dismiss()
