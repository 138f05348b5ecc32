"""Signs of life of a worker, and the word to stop that others leave for it in the catalogue."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from llmasos.errors import LLMasOSError
from llmasos.runs.process import HEARTBEAT
from llmasos.runs.run import Run

if TYPE_CHECKING:
    from llmasos.runs.store import RunStore

_log = logging.getLogger(__name__)


class Heartbeat:
    """A thread that gives a sign of life every few seconds while the block runs.

    A catalogue that is busy, full or away for a while does not disturb the work.

    Args:
        ask: asks the work to stop.
    """

    def __init__(self, store: RunStore, run: Run, ask: Callable[[], None]) -> None:
        self._store = store
        self._run = run
        self._ask = ask
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        told = False
        while not self._over.wait(HEARTBEAT):
            try:
                run = self._store.beat(self._run)
            except LLMasOSError as error:
                if not told:
                    _log.warning("no sign of life could be given: %s", error)
                told = True
                continue
            told = False
            if run is None or run.stop_requested is not None:
                self._ask()
