"""A few real steps, to know speed and memory instead of estimating them."""

from __future__ import annotations

import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from llmasos.library.store import Library
from llmasos.runs.context import RunContext
from llmasos.training.assembly import computing_threads, make_loop, open_parts
from llmasos.training.distributed.processes import join_processes
from llmasos.training.recipe.kinds import TrainingRecipe
from llmasos.training.trainer.meter import memory_used
from llmasos.training.trainer.randomness import keeping_generators
from llmasos.training.trainer.step import StepBatches

STEPS = 3
"""Steps that are done; the first is not counted."""


@dataclass(frozen=True)
class Measured:
    """What real steps showed: real tokens a second, and the most memory that was taken, in bytes."""

    tokens_per_second: float
    memory: int


def measure_steps(recipe: TrainingRecipe, *, library: Library) -> Measured:
    """Do a few steps as a run would, with a learning rate of zero, and forget them.

    Raises:
        LLMasOSError: as a run.
    """
    processes = join_processes(recipe.trainer.device)
    with (
        tempfile.TemporaryDirectory(prefix="llmasos-check-") as folder,
        keeping_generators(),
        computing_threads(recipe.trainer.threads, processes),
        _HighestMemory(processes.device) as highest,
    ):
        context = RunContext("check", Path(folder), main=False)
        loop = make_loop(recipe, context, processes, open_parts(recipe, context, processes, library))
        tokens, seconds = 0, 0.0
        for number in range(STEPS):
            place = number % loop.batches.steps
            data = StepBatches(
                loop.batches.of_step(place, epoch=0), loop.batches.rows_of_step(place, epoch=0)
            )  # fmt: skip
            start = time.perf_counter()
            result = loop.stepper.step(number + 1, data, rate=0.0, stop=False)
            if number:
                tokens += result.tokens
                seconds += time.perf_counter() - start
    return Measured(tokens / max(seconds, 1e-9), highest.bytes)


class _HighestMemory:
    """Watches the memory of this process from a thread of its own."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self.bytes = 0

    def __enter__(self) -> _HighestMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._device.startswith("cuda"):
            self.bytes = memory_used(self._device)

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._stop.wait(0.02):
            self.bytes = max(self.bytes, process.memory_info().rss)
