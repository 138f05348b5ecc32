"""How far a download or an upload is, until it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui

from llmasos.studio.components import parts
from llmasos.studio.context import Context
from llmasos.studio.transfers import Transfer
from llmasos.units import format_bytes


class TransferLine:
    """A bar and the bytes, looked at twice a second.

    Args:
        label: what is transferred, for screen readers.
        ended: called once, when the transfer has ended, well or not.
    """

    def __init__(self, context: Context, transfer: Transfer, label: str, ended: Callable[[Transfer], Any]) -> None:
        self._transfer, self._ended = transfer, ended
        self._bar = parts.Bar(label)
        self._label = ui.label("").classes("small soft number")
        self._timer = ui.timer(0.5, context.handle(self._look))

    def _look(self) -> Any:
        transfer = self._transfer
        self._bar.show(transfer.share)
        size = format_bytes(transfer.completed)
        self._label.text = f"{size} / {format_bytes(transfer.total)}" if transfer.total else size
        if transfer.outcome == "running":
            return None
        self._timer.cancel()
        return self._ended(transfer)
