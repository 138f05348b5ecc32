"""The gate before the optimiser: nothing that is not a finite number gets into the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from llmasos.errors import NotFinite
from llmasos.i18n import t

MOST_SKIPPED = 10
"""Steps in a row that may be left out; more say that the run has diverged."""
_ROWS_NAMED = 8
_TEXTS_NAMED = 3
_TEXT_LENGTH = 80


class Gate:
    """Counts steps whose loss or gradients are not finite, and stops the run when it must.

    Args:
        on_bad_loss: whether to stop at the first such step, or to leave it out.
        skipped: steps left out so far.

    Attributes:
        description: names the micro-batches of the last step that did not pass.
    """

    def __init__(self, on_bad_loss: Literal["stop", "skip"], *, skipped: int = 0) -> None:
        self._on_bad_loss = on_bad_loss
        self.skipped = skipped
        self._in_a_row = 0
        self.description = ""

    def passes(self, step: int, loss: float, norm: float, describe: Callable[[], str]) -> bool:
        """Whether the weights may be changed.

        Args:
            loss: of the step, over all processes.
            norm: of its gradients.
            describe: names the micro-batches that are to blame.

        Raises:
            NotFinite: they may not, and the recipe or the number of such steps in a row says stop.
        """
        if math.isfinite(loss) and math.isfinite(norm):
            self._in_a_row = 0
            return True
        self.skipped += 1
        self._in_a_row += 1
        self.description = describe()
        if self._on_bad_loss == "stop":
            raise NotFinite(
                t("step {step}: loss {loss}, norm of the gradients {norm}; no weight was changed. {where}",
                  step=step, loss=loss, norm=norm, where=self.description),
                hint=t("Look at these rows; lower the learning rate; try dtype: float32. `on_bad_loss: skip` goes on."),
            )  # fmt: skip
        if self._in_a_row > MOST_SKIPPED:
            raise NotFinite(
                t("loss or gradients of {count} steps in a row were not finite, the last at step {step}. {where}",
                  count=self._in_a_row, step=step, where=self.description),
                hint=t("The run has diverged. Go on from an earlier checkpoint with a lower learning rate."),
            )  # fmt: skip
        return False


def name_batch(number: int, rank: int, world: int, rows: Sequence[int], texts: Sequence[str]) -> str:
    """A micro-batch in words: its number in the step, from 0, the numbers of its rows, how its first texts begin."""
    named = ", ".join(str(row) for row in rows[:_ROWS_NAMED]) + (", ..." if len(rows) > _ROWS_NAMED else "")
    begins = "; ".join(repr(text[:_TEXT_LENGTH]) for text in texts[:_TEXTS_NAMED])
    if world == 1:
        return t(
            "Micro-batch {number}, data rows {rows}, which begin: {texts}", number=number, rows=named, texts=begins
        )
    return t(
        "Process {rank}, micro-batch {number}, data rows {rows}, which begin: {texts}",
        rank=rank, number=number, rows=named, texts=begins,
    )  # fmt: skip
