"""One run of several processes that `torchrun` or `accelerate launch` started: the first keeps the run, all work."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from llmasos import progress
from llmasos.progress import Sink
from llmasos.runs.context import RunContext
from llmasos.runs.execution import Finished, execute
from llmasos.runs.outcome import Outcome
from llmasos.runs.queue import Queue
from llmasos.runs.run import Run
from llmasos.runs.signals import StopSignals
from llmasos.runs.states import State
from llmasos.runs.store import RunStore
from llmasos.settings import get_settings
from llmasos.training.distributed.processes import join_processes
from llmasos.training.launch import claim_here, training_work
from llmasos.training.recipe.kinds import TrainingRecipe

if TYPE_CHECKING:
    from llmasos.library.store import Library


def train_together(
    recipe: TrainingRecipe,
    *,
    library: Library,
    name: str | None,
    resume: Run | None,
    sinks: tuple[Sink, ...],
    on_start: Callable[[Run], None] | None,
    on_stop: Callable[[], None] | None,
) -> Finished:
    """Train in each of several processes; arguments as :func:`llmasos.training.launch.train_here`.

    Raises:
        OtherProcessFailed: the first process could not make the run.
        LLMasOSError: in the others, what ended the work there.
    """
    from llmasos.training.run import train

    processes = join_processes(recipe.trainer.device)
    store = RunStore(library)
    run: Run = processes.first_does(lambda: claim_here(recipe, store, name=name, resume=resume))
    if processes.main:
        if on_start is not None:
            on_start(run)
        try:
            return execute(store, run, training_work(recipe, library), sinks=sinks, on_stop=on_stop)
        finally:
            Queue(store, limit=get_settings().concurrent_runs).dispatch()
    context = RunContext(run.id, store.folder(run), resume=run.attempt > 1, main=False)
    with progress.reporting(), StopSignals(context, polls=True) as signals, signals.working():
        result = train(recipe, context, library=library)
    state = State.CANCELLED if result.outcome == "cancelled" else State.SUCCEEDED
    return Finished(run, Outcome(run.attempt, state), result)
