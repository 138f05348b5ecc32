"""Downloads and uploads of the Studio: they belong to the server, so that a closed tab ends none."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from llmasos import progress
from llmasos.errors import InUse, LLMasOSError
from llmasos.i18n import t
from llmasos.library import acquire, delivery
from llmasos.library.sources.oci import PushReport
from llmasos.library.store import Library

Outcome = Literal["running", "done", "failed"]


@dataclass
class Transfer:
    """One download, or one upload.

    Attributes:
        target: where an upload goes.
        completed, total: bytes, as far as they are known.
        report: what an upload sent.
    """

    reference: str
    target: str | None = None
    completed: float = 0.0
    total: float | None = None
    outcome: Outcome = "running"
    error: LLMasOSError | None = None
    report: PushReport | None = None
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
    """All downloads and uploads since the server started, by what goes where."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._lock = threading.Lock()
        self._newest: dict[tuple[str, str | None], Transfer] = {}

    def of(self, reference: str, target: str | None = None) -> Transfer | None:
        """The newest download of a reference, or its newest upload to a target."""
        return self._newest.get((reference, target))

    def start(self, reference: str, *, accept_license: bool = False) -> Transfer:
        """Begin a download; what had arrived before an interruption is not fetched again.

        Raises:
            InUse: it is being downloaded.
        """
        return self._begin(
            Transfer(reference), t("{reference} is being downloaded", reference=reference), f"pull {reference}",
            lambda _: acquire.pull(reference, library=self._library, accept_license=accept_license),
        )  # fmt: skip

    def push(self, reference: str, target: str) -> Transfer:
        """Begin an upload to a registry; what it has already is not sent again.

        Args:
            target: ``oci:host/repository:tag``.

        Raises:
            InUse: it is being sent there.
        """

        def send(transfer: Transfer) -> None:
            transfer.report = delivery.push(reference, target, library=self._library)

        return self._begin(
            Transfer(reference, target), t("{reference} is being sent to {target}", reference=reference, target=target),
            f"push {reference}", send,
        )  # fmt: skip

    def _begin(self, transfer: Transfer, refusal: str, name: str, work: Callable[[Transfer], object]) -> Transfer:
        key = transfer.reference, transfer.target
        with self._lock:
            present = self._newest.get(key)
            if present is not None and present.outcome == "running":
                raise InUse(refusal)
            self._newest[key] = transfer
        context = contextvars.copy_context()
        threading.Thread(target=lambda: context.run(_do, transfer, work), name=name, daemon=True).start()
        return transfer


def _do(transfer: Transfer, work: Callable[[Transfer], object]) -> None:
    try:
        with progress.reporting(progress.current().emit, transfer.take):  # the terminal of the server sees it too
            work(transfer)
    except LLMasOSError as error:
        transfer.error, transfer.outcome = error, "failed"
    else:
        transfer.outcome = "done"
    finally:
        if transfer.outcome == "running":  # a defect, which the thread tells the log; nobody must wait for it
            transfer.error = LLMasOSError(t("the transfer failed because of a defect; the log has the reason"))
            transfer.outcome = "failed"
