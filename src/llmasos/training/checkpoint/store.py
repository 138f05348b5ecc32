"""The checkpoints of a run: which there are, which is the newest intact one, which are kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from llmasos.errors import IntegrityError
from llmasos.i18n import t
from llmasos.library.disk import DEAD, bury, remove_tree
from llmasos.training.checkpoint.snapshot import Snapshot

_NAME = re.compile(r"step-(\d{8})")


class CheckpointStore:
    """Checkpoints in one folder, ``step-00000100`` and so on.

    Args:
        folder: need not exist yet. What a killed process left unfinished in it is removed when the first checkpoint
            is written.
        keep_last: how many of the newest stay.
    """

    def __init__(self, folder: Path, *, keep_last: int) -> None:
        self.folder = folder
        self._keep_last = keep_last

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is, or would be."""
        return self.folder / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """The steps of which there is a checkpoint, ascending; some may be damaged."""
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def newest(self, on_damaged: Callable[[IntegrityError], None]) -> Snapshot | None:
        """The newest intact state; ``None`` if there is no checkpoint at all.

        Args:
            on_damaged: is told of every newer one that is damaged.

        Raises:
            IntegrityError: there are checkpoints, and all are damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return Snapshot.read(self.path(step))
            except IntegrityError as error:
                on_damaged(error)
        if steps:
            raise IntegrityError(
                t("all {count} checkpoints in {folder} are damaged", count=len(steps), folder=self.folder),
                hint=t("Start the run again from the beginning."),
            )
        return None

    def write(self, snapshot: Snapshot, *, best: int | None) -> Path:
        """Write a state, then remove those that need not be kept.

        Args:
            best: step of the best checkpoint, which stays.

        Raises:
            OutOfDisk: it does not fit; all checkpoints are as before.
        """
        self._remove_unfinished()
        step = snapshot.state.step
        snapshot.write(self.path(step))
        # Later ones are of a run that went on from an earlier, because they were damaged.
        earlier = [known for known in self.steps() if known <= step]
        kept = {*earlier[-self._keep_last :], best}
        for known in self.steps():
            if known not in kept:
                remove_tree(bury(self.path(known)))
        return self.path(step)

    def _remove_unfinished(self) -> None:
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.name.startswith((".step-", DEAD)):
                    remove_tree(path)
