"""Downloads that somebody started in the Studio: they belong to the server, so that a closed tab ends none."""

from __future__ import annotations

import contextvars
import threading
from dataclasses import dataclass, field
from typing import Literal

from llmasos import progress
from llmasos.errors import InUse, LLMasOSError
from llmasos.i18n import t
from llmasos.library import acquire
from llmasos.library.store import Library

Outcome = Literal["running", "done", "failed"]


@dataclass
class Transfer:
    """One download.

    Attributes:
        completed, total: bytes, as far as they are known.
    """

    reference: str
    completed: float = 0.0
    total: float | None = None
    outcome: Outcome = "running"
    error: LLMasOSError | None = None
    _tasks: dict[int, progress.Event] = field(default_factory=dict, repr=False)

    @property
    def share(self) -> float | None:
        """How much is done, between 0 and 1."""
        if self.outcome == "done":
            return 1.0
        return min(self.completed / self.total, 1.0) if self.total else None

    def take(self, event: progress.Event) -> None:
        """Note what the work reports; several files may come at the same time."""
        if event.task is None or event.kind not in ("started", "progress", "finished"):
            return
        if event.kind == "started":
            self._tasks = {number: task for number, task in self._tasks.items() if task.kind != "finished"}
        self._tasks[event.task] = event
        tasks = [task for task in self._tasks.values() if task.unit == event.unit]
        self.completed = sum(task.completed or 0.0 for task in tasks)
        self.total = sum(task.total or 0.0 for task in tasks) or None


class Transfers:
    """All downloads since the server started, by what is downloaded."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._lock = threading.Lock()
        self._by_reference: dict[str, Transfer] = {}

    def of(self, reference: str) -> Transfer | None:
        """The newest download of a reference."""
        return self._by_reference.get(reference)

    def start(self, reference: str, *, accept_license: bool = False) -> Transfer:
        """Begin a download; what had arrived before an interruption is not fetched again.

        Raises:
            InUse: it is being downloaded.
        """
        with self._lock:
            present = self._by_reference.get(reference)
            if present is not None and present.outcome == "running":
                raise InUse(t("{reference} is being downloaded", reference=reference))
            transfer = self._by_reference[reference] = Transfer(reference)
        context = contextvars.copy_context()
        threading.Thread(
            target=lambda: context.run(self._pull, transfer, accept_license), name=f"pull {reference}", daemon=True
        ).start()
        return transfer

    def _pull(self, transfer: Transfer, accept_license: bool) -> None:
        try:
            with progress.reporting(transfer.take):
                acquire.pull(transfer.reference, library=self._library, accept_license=accept_license)
        except LLMasOSError as error:
            transfer.error, transfer.outcome = error, "failed"
        else:
            transfer.outcome = "done"
        finally:
            if transfer.outcome == "running":  # a defect, which the thread tells the log; nobody must wait for it
                transfer.error = LLMasOSError(t("the download failed because of a defect; the log has the reason"))
                transfer.outcome = "failed"
