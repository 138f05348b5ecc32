"""What the comparison tells a program that trains, and what comes back."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from peak_memory import peak_memory


@dataclass
class Job:
    """The same steps for every contender.

    Attributes:
        model: folder of the model, in the layout of transformers.
        samples: of each step: ``ids``, and ``trained`` (of a language model) or ``label`` (of a classifier).
        full: train all weights; else low-rank updates.
        warm_up: steps at the start that are not timed.
        limit: seconds after which a contender stops, with the steps that it has done.
        setting: options of the contender; see each program.
        recipe: what our own program trains; it finds the same samples in the same order by itself.
    """

    model: str
    samples: list[list[dict[str, Any]]]
    full: bool
    rank: int
    learning_rate: float
    warm_up: int
    threads: int
    limit: float = 600.0
    setting: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)

    def tokens(self, step: int) -> int:
        """Real tokens of a step."""
        return sum(len(sample["ids"]) for sample in self.samples[step])


@dataclass
class Report:
    """What came of it.

    Attributes:
        seconds: of each timed step; ``tokens`` the real tokens in it.
        processor: seconds of processor time of all threads, which a busy machine disturbs less.
        losses: of every step, before its update.
        peak: bytes of main memory at the highest, of this process.
    """

    seconds: list[float]
    processor: list[float]
    tokens: list[int]
    losses: list[float]
    peak: int = 0

    @property
    def rate(self) -> float:
        """Real tokens a second."""
        return sum(self.tokens) / sum(self.seconds)


class Stopwatch:
    """Times steps one after the other; a step begins where the one before ended."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.report = Report([], [], [], [])
        self.start()

    def start(self) -> None:
        """Everything is ready for the first step."""
        self._began = self._last = time.perf_counter()
        self._used = time.process_time()

    def step(self, loss: float) -> bool:
        """A step is done; whether the time is over."""
        now, used = time.perf_counter(), time.process_time()
        number = len(self.report.losses)
        self.report.losses.append(loss)
        if number >= self._job.warm_up:
            self.report.seconds.append(now - self._last)
            self.report.processor.append(used - self._used)
            self.report.tokens.append(self._job.tokens(number))
        self._last, self._used = now, used
        return bool(self.report.seconds) and now - self._began > self._job.limit


def main(run: Callable[[Job], Report]) -> None:
    """Run the job in the file of the first argument and write the report to the second."""
    job = Job(**json.loads(Path(sys.argv[1]).read_text()))
    report = run(job)
    report.peak = peak_memory()
    Path(sys.argv[2]).write_text(json.dumps(asdict(report)))
