"""One optimiser step: all micro-batches of the global batch, one sum, one division."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmasos.training.batches import AnyBatch, ids_of, tokens_of
from llmasos.training.distributed.gradients import clip, norm_of, sum_over_processes
from llmasos.training.distributed.processes import Processes
from llmasos.training.objectives.objective import LossSum, Objective
from llmasos.training.optimizers.optimizer import NamedOptimizer
from llmasos.training.trainer.gate import Gate, name_batch
from llmasos.training.trainer.precision import Precision
from llmasos.training.trainer.randomness import seed_all
from llmasos.training.trainer.weights import Weights

LossFunction = Callable[[AnyBatch], LossSum]


@dataclass(frozen=True)
class StepBatches:
    """What a process reads in one step, and where it comes from.

    Attributes:
        batches: its micro-batches.
        rows: for each the numbers of its data rows.
    """

    batches: Sequence[AnyBatch]
    rows: Sequence[Sequence[int]]


@dataclass(frozen=True)
class StepResult:
    """One step, over all processes.

    Attributes:
        total: sum of the loss over ``count`` units.
        tokens: real tokens, without padding.
        gradient_norm: before clipping.
        metrics: further measures as (numerator, denominator).
        changed: whether the weights were changed; not if something was not finite.
        stop: whether some process was asked to stop.
    """

    total: float
    count: int
    tokens: int
    gradient_norm: float
    metrics: dict[str, tuple[float, float]]
    changed: bool
    stop: bool


class Stepper:
    """Does optimiser steps.

    The gradient is that of ``sum of losses / sum of units`` over all micro-batches of all processes: it does not depend
    on how the sequences of a step are divided.

    Args:
        objective: what it learns.
        loss: the loss of a batch; may be a wrapped form of ``objective.loss(module, batch)``.
        weights: what is trained.
        optimizer: over the masters of ``weights``.
        max_norm: gradients are scaled down to it; ``None``: never.
        decode: token ids to text, to name a batch.
        run_empty: compute batches without units too, because processes wait for each other in every layer.
    """

    def __init__(
        self,
        objective: Objective,
        loss: LossFunction,
        weights: Weights,
        optimizer: NamedOptimizer,
        *,
        processes: Processes,
        precision: Precision,
        gate: Gate,
        seed: int,
        max_norm: float | None,
        decode: Callable[[list[int]], str],
        run_empty: bool = False,
    ) -> None:
        self._objective = objective
        self._loss = loss
        self._weights = weights
        self._optimizer = optimizer
        self._processes = processes
        self._precision = precision
        self._gate = gate
        self._seed = seed
        self._max_norm = max_norm
        self._decode = decode
        self._run_empty = run_empty
        self._metric_names: list[str] | None = None

    def step(self, number: int, data: StepBatches, *, rate: float, stop: bool) -> StepResult:
        """Do optimiser step ``number`` (from 1) at a learning rate.

        Args:
            stop: whether this process was asked to stop.

        Raises:
            NotFinite: see :class:`Gate`.
        """
        counts = [self._objective.count(batch) for batch in data.batches]
        real = sum(tokens_of(batch)[0] for batch, units in zip(data.batches, counts, strict=True) if units)
        count, tokens, stops = (int(value) for value in self._processes.sum_numbers([sum(counts), real, stop]))
        losses = self._accumulate(number, data.batches, max(count, 1))
        totals = [float(loss.total) for loss in losses]
        total, metrics = self._summed(totals, losses)
        sum_over_processes(self._weights, self._processes)
        norm = norm_of(self._weights, self._processes)
        changed = self._gate.passes(number, total / max(count, 1), norm, lambda: self._describe(data, totals))
        if changed:
            if self._max_norm is not None and norm > self._max_norm:
                clip(self._weights, self._max_norm / norm)
            self._optimizer.step(rate)
            self._weights.refresh()
        self._weights.zero_gradients()
        return StepResult(total, count, tokens, norm, metrics, changed, stops > 0)

    def _accumulate(self, step: int, batches: Sequence[AnyBatch], count: int) -> list[LossSum]:
        losses = []
        for index, batch in enumerate(batches):
            if not self._run_empty and not self._objective.count(batch):
                continue
            number = index * self._processes.world + self._processes.rank
            seed_all(self._seed, step, number, device=self._processes.device)
            with self._precision.computing(self._processes.device):
                loss = self._loss(batch)
            (loss.total / count).backward()  # type: ignore[no-untyped-call]  # torch gives it no types
            losses.append(LossSum(loss.total.detach(), loss.count, loss.metrics))
        return losses

    def _summed(
        self, totals: Sequence[float], losses: Sequence[LossSum]
    ) -> tuple[float, dict[str, tuple[float, float]]]:
        own: dict[str, tuple[float, float]] = {}
        for loss in losses:
            for name, (numerator, denominator) in loss.metrics.items():
                before = own.get(name, (0.0, 0.0))
                own[name] = before[0] + numerator, before[1] + denominator
        if self._metric_names is None:  # a process without units in the first step does not know them
            self._metric_names = sorted({name for names in self._processes.gather(list(own)) for name in names})
        assert own.keys() <= set(self._metric_names), "an objective always has the same metrics"
        numbers = [number for name in self._metric_names for number in own.get(name, (0.0, 0.0))]
        total, *summed = self._processes.sum_numbers([sum(totals), *numbers])
        return total, dict(zip(self._metric_names, zip(summed[::2], summed[1::2], strict=True), strict=True))

    def _describe(self, data: StepBatches, totals: Sequence[float]) -> str:
        """Names the micro-batches, of all processes, whose loss is not finite; all if only gradients are not."""
        counted = [
            (index, batch)
            for index, batch in enumerate(data.batches)
            if self._run_empty or self._objective.count(batch)
        ]
        shared = self._processes.gather([
            (index, math.isfinite(total), self._name(index, batch, data.rows[index]))
            for (index, batch), total in zip(counted, totals, strict=True)
        ])  # fmt: skip
        found = [item for process in shared for item in process]
        bad = [name for _, finite, name in found if not finite]
        return " ".join(bad or [name for _, _, name in found])

    def _name(self, index: int, batch: AnyBatch, rows: Sequence[int]) -> str:
        texts = [self._decode(ids[:40]) for ids in ids_of(batch)[:3]]
        return name_batch(index, self._processes.rank, self._processes.world, rows, texts)
