"""Running a prepared task: all calls together, every record written down as it is finished."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from llmasos import hardware, progress
from llmasos.evaluation.backends.protocol import Answer, Backend, Call
from llmasos.evaluation.journal import Journal
from llmasos.evaluation.prepare import PreparedTask
from llmasos.evaluation.prompts import Sample
from llmasos.evaluation.records import Record
from llmasos.i18n import t


def run(prepared: PreparedTask, backend: Backend, *, folder: Path | None = None, resume: bool = False) -> list[Record]:
    """The records of all samples, by their index.

    Args:
        folder: where records are written down as they come; ``None``: nowhere.
        resume: take records that an earlier run of the same task, data, model and settings has written there.

    Raises:
        LLMasOSError: what ends everything; what ends one sample is in its record.
    """
    if folder is None:
        return _run(prepared, backend, {}, None)
    journal = Journal(folder, prepared.key(backend), resume=resume)
    try:
        return _run(prepared, backend, journal.finished(), journal)
    finally:
        journal.close()


def _run(
    prepared: PreparedTask, backend: Backend, finished: dict[int, Record], journal: Journal | None
) -> list[Record]:
    records = dict(finished)
    todo = [sample for sample in prepared.samples if sample.index not in records]
    total = len(prepared.samples)
    with progress.current().task(prepared.task.name, total=total, unit=t("samples")) as task:
        task.update(total - len(todo))
        for record in _records(prepared, backend, todo):
            records[record.index] = record
            if journal is not None:
                journal.append(record)
            task.advance()
    return [records[sample.index] for sample in prepared.samples]


def _records(prepared: PreparedTask, backend: Backend, samples: Sequence[Sample]) -> Iterator[Record]:
    judge = prepared.judge
    complete = _answered(prepared, backend, samples)
    if not judge.concurrent:
        for sample, answers in complete:
            yield judge.record(sample, answers)
        return
    waiting: list[Future[Record]] = []
    with ThreadPoolExecutor(hardware.choose_threads(), thread_name_prefix="judge") as pool:
        for sample, answers in complete:
            context = contextvars.copy_context()
            waiting.append(pool.submit(context.run, judge.record, sample, answers))
            for future in [future for future in waiting if future.done()]:
                waiting.remove(future)
                yield future.result()
        for future in waiting:
            yield future.result()


def _answered(
    prepared: PreparedTask, backend: Backend, samples: Sequence[Sample]
) -> Iterator[tuple[Sample, list[Answer]]]:
    """Samples with all their answers, as soon as the last of these is there."""
    calls: list[Call] = []
    owners: list[tuple[int, int]] = []
    gathered: list[list[Answer | None]] = []
    for number, sample in enumerate(samples):
        own = prepared.judge.calls(sample)
        owners += [(number, place) for place in range(len(own))]
        gathered.append([None] * len(own))
        calls += own
    missing = [len(entries) for entries in gathered]
    for index, answer in backend.run(calls):
        number, place = owners[index]
        gathered[number][place] = answer
        missing[number] -= 1
        if missing[number] == 0:
            answers = [entry for entry in gathered[number] if entry is not None]
            gathered[number] = []
            yield samples[number], answers


def prompts(prepared: PreparedTask, backend: Backend, count: int) -> list[str]:
    """The first prompts as they would be sent."""
    shown = []
    for sample in prepared.samples[:count]:
        for call in prepared.judge.calls(sample)[:1]:
            prompt = getattr(call, "prompt", None)
            shown.append(backend.show(prompt) if prompt is not None else str(getattr(call, "text", "")))
    return shown
