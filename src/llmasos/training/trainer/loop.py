"""The training loop: steps, and between them reports, evaluations and checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import nn

from llmasos import progress
from llmasos.errors import OutOfDisk
from llmasos.i18n import t
from llmasos.runs.context import RunContext
from llmasos.training.batches import Batches
from llmasos.training.checkpoint.snapshot import RunState, Snapshot, read_weights
from llmasos.training.checkpoint.store import CheckpointStore
from llmasos.training.distributed.parts import gathered, scattered
from llmasos.training.distributed.processes import Processes
from llmasos.training.optimizers.optimizer import NamedOptimizer
from llmasos.training.optimizers.schedules import factor
from llmasos.training.recipe.kinds import TrainingRecipe
from llmasos.training.trainer.ema import MovingAverage
from llmasos.training.trainer.evaluation import Evaluator
from llmasos.training.trainer.gate import Gate
from llmasos.training.trainer.meter import Meter
from llmasos.training.trainer.step import StepBatches, Stepper
from llmasos.training.trainer.stopping import Best
from llmasos.training.trainer.weights import Weights

Ending = Literal["finished", "stopped_early", "cancelled"]


def total_steps(recipe: TrainingRecipe, steps_of_epoch: int) -> int:
    """Optimiser steps of a run: those of the recipe, else of its epochs (3 if it names none), rounded up."""
    if recipe.trainer.steps is not None:
        return recipe.trainer.steps
    epochs = recipe.trainer.epochs if recipe.trainer.epochs is not None else 3.0
    return max(math.ceil(round(epochs * steps_of_epoch, 6)), 1)


@dataclass
class Loop:
    """A run between its start and its end.

    Attributes:
        rate: highest learning rate.
        on_step: see :attr:`llmasos.training.methods.applied.Applied.on_step`.
        supervised_are_tokens: whether the units of the loss are tokens.
        data: digests of the data, by which a resume sees whether they have changed.
    """

    recipe: TrainingRecipe
    context: RunContext
    module: nn.Module
    batches: Batches
    weights: Weights
    optimizer: NamedOptimizer
    stepper: Stepper
    evaluator: Evaluator
    store: CheckpointStore
    gate: Gate
    meter: Meter
    processes: Processes
    rate: float
    on_step: Callable[[int], bool] | None
    supervised_are_tokens: bool
    data: dict[str, str]
    step: int = 0
    scores: dict[int, dict[str, float]] = field(default_factory=dict)
    losses: list[tuple[int, float]] = field(default_factory=list)
    stopped_early: bool = False
    average: MovingAverage | None = None

    def __post_init__(self) -> None:
        self.steps = total_steps(self.recipe, self.batches.steps)
        options = self.recipe.evaluation
        self.best = Best(self.evaluator.higher_is_better, options.early_stopping)
        self._evaluate_every = options.every or max(self.steps // 10, 1)
        self._save_every = self.recipe.checkpoints.every or self._evaluate_every
        self._saved_at: int | None = None
        self._interrupted = False  # an evaluation ended early because the run was asked to stop
        self._saved_time = time.monotonic()
        if self.recipe.trainer.ema is not None:
            self.average = MovingAverage(self.weights, self.recipe.trainer.ema)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a state."""
        state = snapshot.state
        self.step, self.scores, self.losses = state.step, dict(state.scores), list(state.losses)
        self.meter.tokens, self.meter.seconds = state.tokens, state.seconds
        self.meter.load(state.measured)
        self.gate.skipped, self.stopped_early = state.skipped, state.stopped_early
        self.best.load(state.best)
        self.weights.load(scattered(snapshot.weights, self.weights.masters()))
        self.optimizer.load(scattered(snapshot.optimizer, self.weights.masters()), state.optimizer)
        if self.average is not None and snapshot.average is not None:
            self.average.load(scattered(snapshot.average, self.weights.masters()))
        self._saved_at = state.step

    def run(self) -> Ending:
        """Train until the end, early stopping or a request to stop.

        Raises:
            NotFinite: see :class:`~llmasos.training.trainer.gate.Gate`.
            OutOfDisk: the last checkpoint does not fit.
            InvalidRecipe: ``evaluation.metric`` is not measured.
        """
        if self.on_step is not None:
            self.on_step(self.step)
        if self._evaluation_is_missing():
            self._evaluate()
        with progress.current().task(t("train"), total=self.steps, unit=t("steps")) as task:
            task.update(self.step)
            stop = False
            while self.step < self.steps and not (self.stopped_early or self._interrupted or stop):
                stop = self._one_step()
                task.update(self.step)
        self._save_unless_saved()
        if self._interrupted or (stop and self.step < self.steps and not self.stopped_early):
            return "cancelled"
        return "stopped_early" if self.stopped_early else "finished"

    def _evaluation_is_missing(self) -> bool:
        """Whether the present step is to be evaluated, and was not: at the start, or stopped in the middle."""
        if self.step == 0:
            due = self.recipe.evaluation.at_start and self.evaluator.wanted
        else:
            due = self.evaluator.gives_scores and self._evaluation_is_due()
        return due and self.step not in self.scores

    def _evaluation_is_due(self) -> bool:
        return self.step % self._evaluate_every == 0 or self.step == self.steps

    def load_result(self, step: int) -> None:
        """Put the weights that the run gives as of a step into the module: its own, or their moving averages.

        Raises:
            IntegrityError: it is an earlier step, and its checkpoint is damaged.
        """
        if step != self.step:
            self.weights.load(scattered(read_weights(self.store.path(step)), self.weights.masters()))
        elif self.average is not None:
            self.weights.load(self.average.values)

    @property
    def epoch(self) -> float:
        """Passes over the data so far."""
        return self.step / self.batches.steps

    def _one_step(self) -> bool:
        """Do the next step and what is due after it; whether some process was asked to stop."""
        epoch, place = divmod(self.step, self.batches.steps)
        number = self.step + 1
        rate = self.rate * factor(self.recipe.schedule, number, self.steps)
        self.meter.start()
        data = StepBatches(
            self.batches.of_step(place, epoch=epoch), self.batches.rows_of_step(place, epoch=epoch)
        )  # fmt: skip
        result = self.stepper.step(number, data, rate=rate, stop=self.context.should_stop())
        if self.average is not None:
            self.average.update(number)
        self.step = number
        if self.on_step is not None:
            self.on_step(number)
        self.meter.stop(result, supervised_are_tokens=self.supervised_are_tokens)
        if not result.changed:
            self.context.warn(
                t("step {step} was left out: its loss or gradients are not finite ({count} so far). {where}",
                  step=number, count=self.gate.skipped, where=self.gate.description)
            )  # fmt: skip
        last = number == self.steps
        is_best = False
        if number % self.recipe.trainer.log_every == 0 or last or number == 1:
            self._report(rate)
        if self.evaluator.wanted and self._evaluation_is_due():
            is_best = self._evaluate()
        if number % self._save_every == 0 or last or self._overdue() or (is_best and self.recipe.checkpoints.keep_best):
            self._save(final=last)
        return result.stop

    def _report(self, rate: float) -> None:
        values: dict[str, Any] = self.meter.report(left=self.steps - self.step)
        loss = values["loss"]
        if loss is not None:
            self.losses.append((self.step, loss))
        self.context.report(step=self.step, epoch=self.epoch, learning_rate=rate, **values)

    def _evaluate(self) -> bool:
        """Measure the weights that would be the result; whether they are the best so far."""
        if self.average is None or self.step == 0:
            scores = self.evaluator.evaluate(self.module, self.step)
        else:
            with self.weights.computing_with(self.average.values):
                scores = self.evaluator.evaluate(self.module, self.step)
        self._interrupted = scores is None
        if not scores:
            return False
        self.scores[self.step] = scores
        self.best.higher_is_better = self.evaluator.higher_is_better
        is_best = self.step > 0 and self.best.add(self.step, scores[self.recipe.evaluation.metric])
        self.stopped_early = self.best.should_stop and self.step < self.steps
        return is_best

    def _overdue(self) -> bool:
        minutes = self.recipe.checkpoints.minutes
        overdue = minutes is not None and time.monotonic() - self._saved_time > 60 * minutes
        return minutes is not None and any(self.processes.sum_numbers([overdue]))

    def _save_unless_saved(self) -> None:
        if self._saved_at != self.step:
            self._save(final=True)

    def _save(self, *, final: bool) -> None:
        """Write a checkpoint. A full disk ends the run only if this is the last chance to keep its work: one that goes
        on loses nothing, and has the checkpoint before."""
        snapshot = self.snapshot()
        best = self.best.step if self.recipe.checkpoints.keep_best else None
        self._saved_time = time.monotonic()

        def write() -> Path | None:
            try:
                return self.store.write(snapshot, best=best)
            except OutOfDisk as error:
                if final:
                    raise
                self.context.warn(
                    t("no checkpoint at step {step}: {problem}. Training goes on; the checkpoint before is intact.",
                      step=self.step, problem=error.message)
                )  # fmt: skip
                return None

        path = self.processes.first_does(write)
        if path is not None:
            self._saved_at = self.step
            self.context.checkpoint(path, step=self.step, best=best == self.step)

    def snapshot(self) -> Snapshot:
        """The state now, with whole tensors in the first process."""
        resolved: dict[str, Any] = self.recipe.model_dump(mode="json")
        state = RunState(
            step=self.step,
            total_steps=self.steps,
            tokens=self.meter.tokens,
            seconds=self.meter.seconds,
            scores=dict(self.scores),
            losses=list(self.losses),
            measured=self.meter.state(),
            best=self.best.state(),
            skipped=self.gate.skipped,
            stopped_early=self.stopped_early,
            optimizer=self.optimizer.numbers(),
            recipe=resolved,
            data=dict(self.data),
        )
        average = gathered(self.average.values) if self.average is not None else None
        return Snapshot(state, gathered(self.weights.masters()), gathered(self.optimizer.tensors()), average)
