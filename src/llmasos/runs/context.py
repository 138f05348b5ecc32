"""What the work of a run sees of the run that it is.

A trainer, a preparation of data or an evaluation gets a :class:`RunContext` and needs to know nothing else of runs:

    def train(recipe, context):
        first = load_newest_checkpoint(context.folder) if context.resume else 0
        with progress.current().task("train", total=steps, unit="steps") as task:
            for step in range(first, steps):
                ...
                context.report(step=step, tokens=tokens, loss=loss, learning_rate=rate)
                task.update(step)
                if context.should_stop():
                    context.checkpoint(save(), step=step)
                    raise Stopped
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from llmasos import progress
from llmasos.progress import Event
from llmasos.runs.events import METRIC_LABEL


class Stopped(BaseException):
    """Raised by work that ends early because it was asked to, after it saved what it can go on from.

    Not an ``Exception``, for the reason for which ``KeyboardInterrupt`` is none: nothing on the way may take it for a
    failure and carry on.
    """


@dataclass
class RunContext:
    """The run, as its work sees it.

    Attributes:
        id: of the run.
        folder: the run's own folder; it exists. Checkpoints and whatever else the work writes go into folders in it.
        resume: whether earlier work lies in the folder, to go on from.
        recipe_folder: what relative paths of the recipe are relative to.
        accept_license: whether the person accepts licences that ask for it.
        main: whether this process tells what happens; in work of several processes only one does.
    """

    id: str
    folder: Path
    resume: bool = False
    recipe_folder: Path = field(default_factory=Path.cwd)
    accept_license: bool = False
    main: bool = True
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)

    def should_stop(self) -> bool:
        """Whether the work is to stop: save what it needs to go on, then return early or raise :class:`Stopped`."""
        return self._stop.is_set()

    def ask_to_stop(self) -> None:
        """Make :meth:`should_stop` true; safe in signal handlers and other threads."""
        self._stop.set()

    def report(self, *, step: int, label: str = METRIC_LABEL, **values: float | None) -> None:
        """Report measures at a step; ``None`` says that a measure is not known and is left out.

        Args:
            step: optimiser steps done, or whatever else the measures are counted by.
            label: the series that they belong to.
            values: see :data:`llmasos.runs.events.METRICS` for the names that every part of the program knows;
                others, such as ``accuracy`` or ``gsm8k.accuracy``, are kept and plotted like them.
        """
        known = {name: value for name, value in values.items() if value is not None}
        self._emit(Event("metric", label, values={"step": step, **known}))

    def sample(self, *, step: int, prompt: str, output: str, reference: str | None = None) -> None:
        """Report what the model answers to a prompt at a step."""
        values: dict[str, float | int | str] = {"step": step, "prompt": prompt, "output": output}
        if reference is not None:
            values["reference"] = reference
        self._emit(Event("sample", METRIC_LABEL, values=values))

    def checkpoint(self, path: Path, *, step: int, best: bool = False) -> None:
        """Report a checkpoint that is now complete on the disk."""
        name = path.relative_to(self.folder) if path.is_relative_to(self.folder) else path
        self._emit(Event("checkpoint", str(name), values={"step": step, "best": int(best)}))

    def artefact(
        self, *, kind: str, name: str | None = None, digest: str | None = None, path: Path | None = None
    ) -> None:
        """Report what the work made: a version in the library by name and digest, or a file or folder."""
        values: dict[str, float | int | str] = {"kind": kind}
        if digest is not None:
            values["digest"] = digest
        if path is not None:
            values["path"] = str(path)
        self._emit(Event("artefact", name or digest or str(path), values=values))

    def warn(self, message: str) -> None:
        """Tell the person something that they should know."""
        if self.main:
            progress.current().log(message, level="warning")

    def _emit(self, event: Event) -> None:
        if self.main:
            progress.current().emit(event)
