"""Measures of training between two reports: loss, speed, memory, and how long it will go on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil
import torch
from torch import nn

from llmasos.hardware import processor
from llmasos.settings import get_settings
from llmasos.training.trainer.step import StepResult


@dataclass(frozen=True)
class Arithmetic:
    """How much a model computes.

    Attributes:
        body: weights in matrices that every token is multiplied with, and those of the head that only supervised
            tokens are.
        head: the latter.
        trained_body, trained_head: those of them whose gradients are computed.
    """

    body: int
    head: int
    trained_body: int
    trained_head: int

    @classmethod
    def of(cls, module: nn.Module) -> Arithmetic:
        """Count the weights of a module; embeddings are looked up and not multiplied."""
        looked_up = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
        find: Any = getattr(module, "get_output_embeddings", None)
        output = find() if find is not None else None
        head = output.weight if isinstance(output, nn.Linear) else None
        body = [
            weight
            for weight in module.parameters()
            if weight.dim() >= 2 and id(weight) not in looked_up and weight is not head
        ]
        size = 0 if head is None else head.numel()
        return cls(
            sum(weight.numel() for weight in body),
            size,
            sum(weight.numel() for weight in body if weight.requires_grad),
            size if head is not None and head.requires_grad else 0,
        )

    def operations(self, tokens: int, supervised: int) -> float:
        """Floating-point operations of a step over ``tokens`` real tokens.

        Two for each weight and token forward, two for the gradients of activations, two for those of trained weights.
        Attention scores are not counted, nor is padding, nor what is computed twice.
        """
        body = tokens * (4.0 * self.body + 2.0 * self.trained_body)
        return body + supervised * (4.0 * self.head + 2.0 * self.trained_head)


@dataclass
class _Sums:
    """What is added up between two reports."""

    seconds: float = 0.0
    steps: int = 0
    changed: int = 0
    tokens: int = 0
    total: float = 0.0
    count: int = 0
    norm: float = 0.0
    operations: float = 0.0
    metrics: dict[str, tuple[float, float]] = field(default_factory=dict)


class Meter:
    """Adds up steps between reports; times what is training and nothing else.

    Args:
        arithmetic: of the model; ``None`` where it is not known how often each weight is used.
        peak: operations per second that the device reaches in matrix products; ``None``: not known.
        device: torch device.
        world: processes, whose operations and peaks add up.
        tokens, seconds: those before a resume.
    """

    def __init__(
        self,
        arithmetic: Arithmetic | None,
        peak: float | None,
        device: str,
        *,
        world: int = 1,
        tokens: int = 0,
        seconds: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._arithmetic = arithmetic
        self._peak = peak * world if peak is not None else None
        self._device = device
        self._clock = clock
        self.tokens = tokens
        self.seconds = seconds
        self._sums = _Sums()

    def start(self) -> None:
        """Begin to time; before a step."""
        self._started = self._clock()

    def stop(self, step: StepResult, *, supervised_are_tokens: bool) -> None:
        """Add a step that has just ended."""
        took = self._clock() - self._started
        self.seconds += took
        self.tokens += step.tokens
        sums = self._sums
        sums.seconds += took
        sums.tokens += step.tokens
        sums.steps += 1
        if step.changed:
            sums.changed += 1
            sums.norm += step.gradient_norm
            sums.total += step.total
            sums.count += step.count
            for name, (numerator, denominator) in step.metrics.items():
                before = sums.metrics.get(name, (0.0, 0.0))
                sums.metrics[name] = before[0] + numerator, before[1] + denominator
        if self._arithmetic is not None:
            supervised = step.count if supervised_are_tokens else 0
            sums.operations += self._arithmetic.operations(step.tokens, supervised)

    def report(self, *, left: int) -> dict[str, float | None]:
        """The measures since the last report, by their names in :data:`llmasos.runs.events.METRICS`.

        Steps that were left out count for the speed alone.

        Args:
            left: steps that are still to do, for ``eta_seconds``.
        """
        sums, self._sums = self._sums, _Sums()
        seconds = max(sums.seconds, 1e-9)
        values: dict[str, float | None] = {
            "loss": sums.total / sums.count if sums.count else None,
            "gradient_norm": sums.norm / sums.changed if sums.changed else None,
            "tokens": self.tokens,
            "tokens_per_second": sums.tokens / seconds,
            "mfu": sums.operations / seconds / self._peak if self._peak and sums.operations else None,
            "memory_bytes": memory_used(self._device),
            "eta_seconds": seconds / sums.steps * left if sums.steps else None,
        }
        return values | {name: top / bottom for name, (top, bottom) in sums.metrics.items() if bottom}

    def state(self) -> dict[str, Any]:
        """The sums since the last report, as JSON has them: a run that goes on reports what it would have."""
        return asdict(self._sums)

    def load(self, state: dict[str, Any]) -> None:
        """Go on from saved sums."""
        metrics = {name: (float(top), float(bottom)) for name, (top, bottom) in state["metrics"].items()}
        self._sums = _Sums(**{**state, "metrics": metrics})


def memory_used(device: str) -> int:
    """Bytes: the most that the GPU's tensors have taken, or what this process takes of main memory now."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    return int(psutil.Process().memory_info().rss)


def measured_peak(device: str, dtype: torch.dtype, *, seconds: float = 0.15) -> float:
    """Operations per second of this device in a product of square matrices: what arithmetic can reach here.

    Measured with torch's threads as they are set, and kept in ``cache/arithmetic.json`` of the home folder: other work
    makes a measurement too low and never too high, so the highest of all counts.
    """
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else processor().model
    key = f"{name} x {torch.get_num_threads()} {str(dtype).removeprefix('torch.')}"
    path = get_settings().home / "cache" / "arithmetic.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    known = content if isinstance(content, dict) else {}
    before = known.get(key)
    best = before if isinstance(before, float) else 0.0
    size = 4096 if device.startswith("cuda") else 1024
    left, right = torch.ones(2, size, size, dtype=dtype, device=device)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        float((left @ right)[0, 0])  # reading a number waits for the device
        best = max(best, 2.0 * size**3 / (time.perf_counter() - start))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**known, key: best}), encoding="utf-8")
    return best
