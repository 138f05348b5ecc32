"""What a check of a recipe found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from llmasos.errors import LLMasOSError

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know.

    Attributes:
        level: an error stops the run, a warning does not, a note only tells.
        about: what was looked at: ``options``, ``data``, ``model``, ``tokens``, ``method``, ``memory``, ``disk``.
        code: of the error, see :mod:`llmasos.errors`; empty for the others.
    """

    level: Level
    about: str
    message: str
    hint: str | None = None
    code: str = ""


@dataclass(frozen=True)
class DataFacts:
    """The data of a run.

    Attributes:
        rows, validation_rows: how many are used; ``None``: not counted, because not all were read.
        looked_at: rows that were rendered for this report; all if ``complete``.
        samples: what they became, of ``tokens`` tokens, ``learned`` of which are learned.
        overlong: of the rows looked at, those longer than the limit ``max_length``.
        sequences: of an epoch, with ``tokens_per_sequence`` real tokens on average and ``padding`` as a share of what
            is computed; ``None``: the rows were not counted.
        labels: training rows of each class.
    """

    rows: int | None
    validation_rows: int | None
    looked_at: int
    complete: bool
    samples: int
    tokens: int
    learned: int
    overlong: int
    max_length: int | None
    sequences: int | None
    tokens_per_sequence: float
    padding: float
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelFacts:
    """The model of a run.

    Attributes:
        parameters, trainable: numbers in its weights, and in those that are trained at the first step.
        packed: whether sequences hold several documents.
        compute, weights: number formats of the computation and of the weights as they are loaded.
    """

    reference: str
    family: str
    parameters: int
    trainable: int
    context_length: int
    packed: bool
    learning_rate: float
    compute: str
    weights: str
    device: str


@dataclass(frozen=True)
class MemoryFacts:
    """Memory at the highest point of a step, by what takes it.

    Attributes:
        parts: bytes by name.
        available: bytes that can be taken now on the device.
    """

    device: str
    parts: Mapping[str, int]
    available: int

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class DiskFacts:
    """Bytes that a run writes: each checkpoint, all that are there at one time, and the result; and what is free."""

    checkpoint: int
    checkpoints: int
    result: int
    free: int

    @property
    def total(self) -> int:
        """Bytes of all parts at one time."""
        return self.checkpoints + self.result


@dataclass(frozen=True)
class TimeFacts:
    """How long a run will take.

    Attributes:
        steps: optimiser steps; ``None``: not known, because the rows were not counted.
        micro_batch_size: sequences of a forward pass.
        tokens_per_step: real tokens.
        tokens_per_second: expected.
        seconds: of training and evaluation; ``None``: the number of steps is not known.
        measured: whether steps were done to know it; else it follows from the arithmetic and this machine's speed.
        measured_memory: bytes that this process took at most in these steps.
    """

    steps: int | None
    micro_batch_size: int
    tokens_per_step: float
    tokens_per_second: float
    seconds: float | None
    measured: bool
    measured_memory: int | None = None


@dataclass
class Report:
    """Everything that was found, in the order in which it was looked at; ``None`` where something stood in the way."""

    findings: list[Finding] = field(default_factory=list)
    data: DataFacts | None = None
    model: ModelFacts | None = None
    memory: MemoryFacts | None = None
    disk: DiskFacts | None = None
    time: TimeFacts | None = None

    @property
    def valid(self) -> bool:
        """Whether nothing stands in the way of the run."""
        return not self.errors

    @property
    def errors(self) -> list[Finding]:
        """What stands in its way."""
        return [finding for finding in self.findings if finding.level == "error"]

    def error(self, about: str, error: LLMasOSError) -> None:
        """Add an error, unless the same was found before."""
        finding = Finding("error", about, error.message, error.hint, error.code)
        if not any(other.message == finding.message for other in self.findings):
            self.findings.append(finding)

    def warn(self, about: str, message: str, hint: str | None = None) -> None:
        """Add a warning."""
        self.findings.append(Finding("warning", about, message, hint))

    def note(self, about: str, message: str) -> None:
        """Add a note."""
        self.findings.append(Finding("note", about, message))

    @contextmanager
    def catching(self, about: str) -> Iterator[None]:
        """Turn an error that a user can repair into a finding, so that the other checks go on."""
        try:
            yield
        except LLMasOSError as error:
            self.error(about, error)
