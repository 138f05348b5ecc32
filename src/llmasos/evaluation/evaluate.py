"""From models and tasks to evaluations: prepare, run, score, write."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos import __version__
from llmasos.errors import InvalidRequest
from llmasos.evaluation.backends.protocol import Backend
from llmasos.evaluation.options import RunOptions
from llmasos.evaluation.parquet import write_records
from llmasos.evaluation.prepare import PreparedTask, prepare
from llmasos.evaluation.records import Record, Status
from llmasos.evaluation.result import Evaluation, ScoreEntry
from llmasos.evaluation.runner import run
from llmasos.evaluation.scoring import scores_of
from llmasos.evaluation.store import SAMPLES_FILE, attach, remove_results, write_evaluation
from llmasos.evaluation.tasks.find import FoundTask
from llmasos.i18n import t
from llmasos.settings import get_settings

if TYPE_CHECKING:
    from llmasos.library.store import Library
    from llmasos.modeling.model import Model

    OpenModel = Callable[[str], Model]

_PACKAGES = ("torch", "transformers", "tokenizers", "sacrebleu", "nltk")


@dataclass(frozen=True)
class Evaluated:
    """An evaluation, its records, and where they lie."""

    evaluation: Evaluation
    records: list[Record]
    folder: Path | None
    """``None``: nothing was written."""
    version: str | None = None
    """Name of the artefact in the library; ``None``: it is not there."""


def evaluate(
    backend: Backend,
    tasks: Sequence[FoundTask],
    options: RunOptions,
    *,
    output: Path | None = None,
    resume: bool = False,
    library: Library | None = None,
    open_model: OpenModel | None = None,
) -> Iterator[Evaluated]:
    """Evaluate a model on tasks, one after the other.

    All tasks are prepared before the first is run, so that a mistake in the last shows at once.

    Args:
        output: folder of the results, each in a folder named by its task; default: a folder in the home folder.
        resume: go on with runs that were interrupted.
        library: attach scores to the model's version in it.
        open_model: loads a model by its reference, for metrics that use one.

    Raises:
        LLMasOSError: see :func:`~llmasos.evaluation.prepare.prepare` and :func:`~llmasos.evaluation.runner.run`.
    """
    if output is not None:
        require_own_folders(tasks)
    prepared = [prepare(found, backend, options) for found in tasks]
    for item in prepared:
        folder = run_folder(item, backend, output)
        yield _finish(item, backend, options, folder, resume=resume, library=library, open_model=open_model)


def require_own_folders(tasks: Sequence[FoundTask]) -> None:
    """Refuse two tasks of one name, of which the second would replace the results of the first.

    Raises:
        InvalidRequest: there are such.
    """
    names = Counter(found.task.name for found in tasks)
    repeated = next((name for name, count in names.items() if count > 1), None)
    if repeated is not None:
        raise InvalidRequest(
            t("two tasks are named {name}, and results lie in folders of these names", name=repeated),
            hint=t("Name each task once, or give them names of their own."),
        )


def run_folder(prepared: PreparedTask, backend: Backend, output: Path | None) -> Path:
    """Where a run is written: the same for the same task, data, model and settings."""
    if output is not None:
        return output / prepared.task.name
    model = re.sub(r"[^A-Za-z0-9._-]+", "-", backend.reference).strip("-.") or "model"
    return get_settings().home / "evaluations" / f"{model}-{prepared.task.name}-{prepared.key(backend)[-12:]}"


def evaluate_in_memory(backend: Backend, found: FoundTask, options: RunOptions) -> Evaluated:
    """Evaluate without writing anything."""
    prepared = prepare(found, backend, options)
    started = time.perf_counter()
    records = run(prepared, backend)
    seconds = time.perf_counter() - started
    return Evaluated(summarise(prepared, backend, records, options, seconds), records, None)


def _finish(
    prepared: PreparedTask,
    backend: Backend,
    options: RunOptions,
    folder: Path,
    *,
    resume: bool,
    library: Library | None,
    open_model: OpenModel | None,
) -> Evaluated:
    remove_results(folder)
    started = time.perf_counter()
    records = run(prepared, backend, folder=folder, resume=resume)
    seconds = time.perf_counter() - started
    write_records(folder / SAMPLES_FILE, records)
    evaluation = summarise(prepared, backend, records, options, seconds, open_model=open_model, folder=folder)
    write_evaluation(folder, evaluation)
    version = None
    if library is not None and evaluation.model_digest is not None:
        version = attach(library, folder, evaluation).names[0]
    return Evaluated(evaluation, records, folder, version)


def summarise(
    prepared: PreparedTask,
    backend: Backend,
    records: Sequence[Record],
    options: RunOptions,
    seconds: float,
    *,
    open_model: OpenModel | None = None,
    folder: Path | None = None,
) -> Evaluation:
    """What the records come to; without any score if every sample failed.

    Args:
        folder: where what each sample contributes to the scores is written; ``None``: nowhere.

    Raises:
        MissingDependency, InvalidRequest: what a metric needs is not there.
    """
    counts = Counter(record.status for record in records)
    scores: Mapping[str, ScoreEntry] = {}
    if counts[Status.ERROR] < len(records):
        scores = scores_of(prepared.task, records, resamples=options.resamples, open_model=open_model, folder=folder)
    return Evaluation(
        model=backend.reference,
        model_digest=backend.digest,
        task=prepared.task.name,
        task_version=prepared.task.version,
        task_digest=prepared.found.digest,
        data_digest=prepared.data_digest,
        settings={**prepared.settings, **{f"model.{name}": value for name, value in backend.facts.items()}},
        settings_digest=prepared.settings_digest,
        scores=scores,
        counts={status.value: counts[status] for status in Status if counts[status]},
        samples=len(records),
        truncated_prompts=sum("truncated_tokens" in record.details for record in records),
        seconds=seconds,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
        notes=(*prepared.notes, *_about(records)),
        license=prepared.task.data.license,
    )


def _about(records: Sequence[Record]) -> Iterator[str]:
    """What was lost or cut in the records, in words."""
    cut = sum("truncated_tokens" in record.details for record in records)
    if cut:
        yield t("{count} of {total} prompts did not fit and lost their beginning", count=cut, total=len(records))
    unended = sum(record.details.get("finish_reason") == "length" for record in records)
    if unended:
        yield t("{count} of {total} outputs reached the token limit", count=unended, total=len(records))
    failed = next((record.error for record in records if record.status is Status.ERROR), None)
    if failed is not None:
        yield t("the first error: {error}", error=failed)


def versions() -> Mapping[str, str]:
    """Of LLMasOS, Python and the packages that compute, as far as they are installed."""
    found = {"llmasos": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
