"""Measures during training: loss and its relatives on validation data, tasks of `llmasos eval`, generated samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from llmasos.errors import InvalidRecipe, did_you_mean
from llmasos.i18n import t
from llmasos.runs.context import RunContext
from llmasos.training.batches import Batches
from llmasos.training.distributed.processes import Processes
from llmasos.training.objectives.objective import Objective
from llmasos.training.recipe.trainer import Evaluation
from llmasos.training.trainer.precision import Precision
from llmasos.training.trainer.samples import Sampler
from llmasos.training.trainer.tasks import TaskMeasures, TaskScore

Gathering = Callable[[Callable[[], Any]], Any]


class Evaluator:
    """Measures the module as it is now and reports what it found.

    Args:
        validation: batches of this process; ``None``: no validation data.
        gathering: what has to be called to compute with sharded weights; all processes then compute together.
            ``None``: each has whole weights.

    Raises:
        InvalidRecipe: a measure is asked for, and there is nothing to measure it on.
    """

    def __init__(
        self,
        options: Evaluation,
        objective: Objective,
        validation: Batches | None,
        tasks: TaskMeasures,
        sampler: Sampler,
        context: RunContext,
        *,
        processes: Processes,
        precision: Precision,
        gathering: Gathering | None = None,
    ) -> None:
        self._options = options
        self._objective = objective
        self._validation = validation
        self._sampler = sampler
        self._context = context
        self._processes = processes
        self._precision = precision
        self._gathering = gathering
        self._tasks = tasks
        self._of_tasks: dict[str, bool] = {}
        if not self.gives_scores and (options.early_stopping is not None or options.metric != "loss"):
            key = "early_stopping" if options.early_stopping is not None else "metric"
            raise InvalidRecipe(
                t("evaluation.{key}: nothing is measured, for there are neither validation data nor tasks", key=key),
                hint=t("Give data.validation, data.validation_share or evaluation.tasks, or leave it out."),
            )

    @property
    def wanted(self) -> bool:
        """Whether there is anything to measure or to show."""
        return self.gives_scores or bool(self._options.samples or self._options.prompts)

    @property
    def higher_is_better(self) -> bool:
        """Whether more is better for the measure that chooses the best checkpoint; known of scores of tasks when they
        were measured once."""
        metric = self._options.metric
        return {**self._objective.higher_is_better, **self._of_tasks}.get(metric, True)

    @property
    def gives_scores(self) -> bool:
        """Whether there is anything to measure."""
        return self._validation is not None or len(self._tasks) > 0

    def evaluate(self, module: nn.Module, step: int) -> dict[str, float] | None:
        """The measures after ``step`` steps, reported as events too; the same in all processes.

        Returns:
            ``None`` if some process was asked to stop meanwhile.

        Raises:
            InvalidRecipe: the measure that chooses the best checkpoint is not among them.
        """
        was_training = module.training
        module.eval()
        try:
            with torch.no_grad(), self._precision.computing(self._processes.device):
                together = self._gathering or self._processes.first_does
                # Each process measures its share; tasks and samples are left to the first, if it has whole weights.
                validated: dict[str, float] | None = (self._gathering or _at_once)(lambda: self._validated(module))
                if validated is None:
                    return None
                of_tasks: dict[str, TaskScore] = together(lambda: self._tasks.measure(module))
                scores = validated | {name: score.value for name, score in of_tasks.items()}
                self._of_tasks = {name: score.higher_is_better for name, score in of_tasks.items()}
                together(lambda: self._show_samples(module, step))
        finally:
            module.train(was_training)
        named: dict[str, Any] = {name if "." in name else f"eval_{name}": value for name, value in scores.items()}
        if named:
            self._context.report(step=step, **named)
        metric = self._options.metric
        if scores and metric not in scores:
            raise InvalidRecipe(
                t("evaluation.metric = {metric}: not measured here; measured are: {known}",
                  metric=metric, known=", ".join(sorted(scores))),
                hint=did_you_mean(metric, scores) or t("Choose one of them."),
            )  # fmt: skip
        return scores

    def _validated(self, module: nn.Module) -> dict[str, float] | None:
        if self._validation is None:
            return {}
        sums: Counter[str] = Counter()
        for batch in self._validation.all():
            if any(self._processes.sum_numbers([self._context.should_stop()])):
                return None
            sums.update(self._objective.measure(module, batch))
        names = sorted({name for names in self._processes.gather(list(sums)) for name in names})
        added = self._processes.sum_numbers([float(sums[name]) for name in names])
        return self._objective.summarise(dict(zip(names, added, strict=True)))

    def _show_samples(self, module: nn.Module, step: int) -> None:
        for answer in self._sampler.answers(module):
            self._context.sample(step=step, prompt=answer.prompt, output=answer.output, reference=answer.expected)


def _at_once(compute: Callable[[], Any]) -> Any:
    return compute()
