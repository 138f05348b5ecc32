"""From the id of a run to its outcome."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence

from llmasos.errors import InvalidRequest, LLMasOSError
from llmasos.i18n import t
from llmasos.library.store import Library
from llmasos.runs.context import RunContext
from llmasos.runs.execution import Done, Work, execute
from llmasos.runs.queue import WORKER, Queue
from llmasos.runs.run import Run
from llmasos.runs.store import RunStore
from llmasos.settings import get_settings
from llmasos.worker.kinds import KINDS, Kind


def main(arguments: Sequence[str], *, kinds: Mapping[str, Kind] = KINDS, command: Sequence[str] = WORKER) -> int:
    """Do the work of the queued run that is named, then start workers for those that wait; the exit code.

    Args:
        arguments: the id of the run.
        kinds: what can be done.
        command: starts another worker like this one.
    """
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m llmasos.worker RUN\n")
        return InvalidRequest.exit_code
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("llmasos").setLevel(logging.INFO)
    logging.captureWarnings(True)
    limit = get_settings().concurrent_runs
    store = RunStore(Library())
    queue = Queue(store, limit=limit, worker=command)
    store.reap()  # a run whose worker was killed takes no place
    run = store.claim(arguments[0], limit=limit)
    if run is None:
        return 0  # another worker has it, it was cancelled, or as many as allowed run and the next to end starts it
    kind = kinds.get(run.kind)
    try:
        finished = execute(store, run, _work(run, store, kind), polls=kind.polls if kind is not None else True)
    except LLMasOSError as error:  # the run's files could not be opened; the catalogue has the reason
        return error.exit_code
    finally:
        queue.dispatch()
    return finished.outcome.exit_code


def _work(run: Run, store: RunStore, kind: Kind | None) -> Work:
    """The work; what is wrong with the recipe is raised inside it, where it is recorded."""

    def work(context: RunContext) -> Done:
        if kind is None:
            raise InvalidRequest(
                t("the run {run} is of the kind {kind}, which this LLMasOS cannot do", run=run.id, kind=run.kind),
                hint=t("Upgrade LLMasOS: pip install --upgrade llmasos"),
            )
        return kind.work(run, store)(context)

    return work
