"""From a recipe to a trained model in the library: puts the parts of training together."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos.errors import IntegrityError
from llmasos.i18n import t
from llmasos.training.assembly import Parts, computing_threads, make_loop, open_parts, reopened
from llmasos.training.checkpoint.compatibility import require_same_data, require_same_recipe
from llmasos.training.distributed.parts import gathered
from llmasos.training.distributed.processes import join_processes
from llmasos.training.recipe.trainer import FullySharded
from llmasos.training.result.publish import RunSummary, publish
from llmasos.training.trainer.loop import Ending, Loop
from llmasos.training.trainer.neftune import noisy_embeddings
from llmasos.training.trainer.randomness import keeping_generators

if TYPE_CHECKING:
    from llmasos.library.store import Library
    from llmasos.library.version import Version
    from llmasos.runs.context import RunContext
    from llmasos.training.recipe.kinds import TrainingRecipe

RESULT = "result"
"""Folder in that of the run, for the files of what it made."""


@dataclass(frozen=True)
class TrainingResult:
    """What a training run came to.

    Attributes:
        outcome: ``finished``: all steps done; ``stopped_early``: by early stopping; ``cancelled``: stopped on request,
            with a checkpoint to go on from.
        version: what was published; ``None`` if the run was cancelled, and in processes other than the first.
        folder: the weights that were published, as files; the newest checkpoint of a cancelled run.
        steps: optimiser steps done, those before a resume included; of ``total_steps``.
        tokens: real tokens read in them, without padding.
        seconds: time spent training, those before a resume included.
        before: scores before the first step, by measure; empty if they were not asked for.
        after: scores of the published weights.
        best_step: the step whose weights were published, if they are not the last.
        warnings: what the user should know, in sentences.
    """

    outcome: Ending
    version: Version | None
    folder: Path
    steps: int
    total_steps: int
    tokens: int
    seconds: float
    before: Mapping[str, float]
    after: Mapping[str, float]
    best_step: int | None
    warnings: tuple[str, ...]


def train(recipe: TrainingRecipe, context: RunContext, *, library: Library | None = None) -> TrainingResult:
    """Train as a recipe says.

    With ``context.resume`` the run goes on from its newest intact checkpoint. Relative paths in the recipe must have
    been made absolute. In a run of several processes every process calls this.

    Raises:
        InvalidRecipe: keys contradict each other or the model.
        NotFound: a model, file or task is not there.
        OutOfMemory: the estimate exceeds what is there; nothing was started.
        OutOfDisk: the result cannot be written.
        NotFinite: loss or gradients are not finite, and ``trainer.on_bad_loss`` says stop.
        IntegrityError: every checkpoint of the run to go on from is damaged.
    """
    from llmasos.library.store import Library

    library = library or Library()
    processes = join_processes(recipe.trainer.device)
    with keeping_generators(processes.device), computing_threads(recipe.trainer.threads, processes):
        parts = open_parts(recipe, context, processes, library)
        loop = make_loop(recipe, context, processes, parts)
        if context.resume:
            _go_on(loop)
        with noisy_embeddings(parts.applied.module, recipe.trainer.neftune):
            ending = loop.run()
        if ending == "cancelled":
            return _result(loop, parts, ending, loop.store.path(loop.step))
        best_step = _take_best(loop)
        folder = context.folder / RESULT
        summary = _summary(loop, parts, best_step)
        version = _published(loop, parts, summary, folder, library)
        return _result(loop, parts, ending, folder, version=version, best_step=best_step)


def _go_on(loop: Loop) -> None:
    """Take up the newest intact checkpoint of the run."""
    snapshot = loop.store.newest(lambda error: loop.context.warn(error.message))
    if snapshot is None:
        loop.context.warn(t("the run has no checkpoint yet: it begins at its first step"))
        return
    require_same_recipe(snapshot.state.recipe, loop.recipe.model_dump(mode="json"))
    require_same_data(snapshot.state.data, loop.data)
    loop.restore(snapshot)


def _take_best(loop: Loop) -> int | None:
    """Put the weights that are the result into the module; the step of the best checkpoint, if it is not the last."""
    best = loop.best.step
    if loop.recipe.checkpoints.keep_best and best is not None and best != loop.step:
        try:
            loop.load_result(best)
            return best
        except IntegrityError as error:
            loop.context.warn(
                t("the best step {best} is lost, and the result is that of the last step: {problem}",
                  best=best, problem=error.message)
            )  # fmt: skip
    loop.load_result(loop.step)
    return None


def _summary(loop: Loop, parts: Parts, best_step: int | None) -> RunSummary:
    feeds = parts.feeds
    rows = {"train": feeds.train_account.rows}
    if feeds.validation_account is not None:
        rows["validation"] = feeds.validation_account.rows
    return RunSummary(
        run=loop.context.id,
        steps=loop.step,
        total_steps=loop.steps,
        tokens=loop.meter.tokens,
        seconds=loop.meter.seconds,
        before=loop.scores.get(0, {}),
        after=loop.scores.get(best_step or loop.step, {}),
        best_step=best_step,
        losses=loop.losses,
        scores=loop.scores,
        inputs=feeds.inputs,
        rows=rows,
        device=loop.processes.device,
        precision=str(parts.precision.compute).removeprefix("torch."),
    )


def _published(loop: Loop, parts: Parts, summary: RunSummary, folder: Path, library: Library) -> Version | None:
    """Put the result into the library; ``None`` in processes other than the first."""
    sharded = isinstance(loop.recipe.trainer.distribution, FullySharded)
    whole = gathered(loop.weights.masters()) if sharded else {}

    def work() -> Version:
        opened, applied = parts.opened, parts.applied
        if sharded or _is_converted(parts):
            # Weights that were divided, or rounded because they are not trained, are read again as they were.
            trained = whole or {name: master.detach() for name, master in loop.weights.masters().items()}
            opened, applied = reopened(loop.recipe, parts, trained, loop.processes.device, library)
        with nullcontext() if applied is not parts.applied else loop.weights.in_full_precision():
            version = publish(loop.recipe, opened, applied, summary, folder, library)
        name = version.names[0] if version.names else None
        loop.context.artefact(kind=applied.artefact, name=name, digest=version.digest, path=folder)
        return version

    version = loop.processes.first_does(work)
    return version if loop.processes.main else None


def _is_converted(parts: Parts) -> bool:
    """Whether the result is a whole model of which weights that are not trained were converted to compute."""
    precision, applied = parts.precision, parts.applied
    if precision.frozen in (None, precision.opened) or applied.artefact != "model":
        return False
    trained = {id(weight) for _, weight in applied.parameters()}
    return any(id(weight) not in trained and weight.is_floating_point() for weight in applied.module.parameters())


def _result(
    loop: Loop, parts: Parts, ending: Ending, folder: Path, *, version: Version | None = None,
    best_step: int | None = None,
) -> TrainingResult:  # fmt: skip
    return TrainingResult(
        outcome=ending,
        version=version,
        folder=folder,
        steps=loop.step,
        total_steps=loop.steps,
        tokens=loop.meter.tokens,
        seconds=loop.meter.seconds,
        before=loop.scores.get(0, {}),
        after={} if ending == "cancelled" else loop.scores.get(best_step or loop.step, {}),
        best_step=best_step,
        warnings=parts.warnings,
    )
