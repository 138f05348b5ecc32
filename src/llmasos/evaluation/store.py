"""Evaluations on disk and in the library.

A run leaves ``evaluation.json``, ``samples.parquet`` and ``scores.parquet`` in its folder. If the model is a version of
the library, they become an artefact of the kind ``report`` whose lineage names the model, so scores belong to exactly
these weights, and travel, are verified and are removed like every other artefact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from llmasos.errors import IntegrityError, NotFound
from llmasos.evaluation.contributions import SCORES_FILE
from llmasos.evaluation.result import FORMAT, Evaluation
from llmasos.i18n import t
from llmasos.library.digest import digest_of, short
from llmasos.library.disk import write_file
from llmasos.library.manifest import canonical_json
from llmasos.library.scores import EVALUATE

if TYPE_CHECKING:
    from llmasos.library.store import Library, Version

EVALUATION_FILE = "evaluation.json"
SAMPLES_FILE = "samples.parquet"
NAMESPACE = "evaluations"


def remove_results(folder: Path) -> None:
    """Take away what an earlier run left, so that its scores never stand beside records of another one."""
    for name in (EVALUATION_FILE, SAMPLES_FILE, SCORES_FILE):  # the first says that a run is finished
        (folder / name).unlink(missing_ok=True)


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write ``evaluation.json`` into a folder that has the samples: a run is finished when it is there.

    Raises:
        OutOfDisk: it does not fit.
    """
    write_file(folder / EVALUATION_FILE, _bytes(evaluation))


def read_evaluation(folder: Path) -> Evaluation:
    """The evaluation in a folder.

    Raises:
        NotFound: there is none.
        IntegrityError: it is damaged, or of a newer LLMasOS.
    """
    path = folder / EVALUATION_FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(
            t("{folder} holds no finished evaluation", folder=folder),
            hint=t("`llmasos eval MODEL --task NAME --output FOLDER` writes one; --resume finishes one."),
        ) from error
    return _parsed(data, str(path))


def attach(library: Library, folder: Path, evaluation: Evaluation) -> Version:
    """Put a finished run into the library, beside the model that it evaluated. A run with the same settings replaces
    the one before.

    Raises:
        OutOfDisk: it does not fit.
    """
    from llmasos.library.kind import Kind
    from llmasos.library.metadata import Lineage, LineageInput, Metadata
    from llmasos.library.reference import Reference

    assert evaluation.model_digest is not None
    figures = {name: entry.value for name, entry in evaluation.scores.items() if math.isfinite(entry.value)}
    metadata = Metadata(
        kind=Kind.REPORT,
        format="evaluation",
        license=evaluation.license,
        base=evaluation.model_digest,
        metrics=dict(figures),
        description=t("Scores of {model} on {task}.", model=evaluation.model, task=evaluation.task),
    )
    lineage = Lineage(
        step=EVALUATE,
        inputs=[LineageInput(role="model", digest=evaluation.model_digest, reference=evaluation.model)],
        recipe={"task": evaluation.task, "task_digest": evaluation.task_digest, **dict(evaluation.settings)},
        metrics=dict(figures),
    )
    chosen = digest_of(canonical_json(dict(evaluation.settings)))  # with the number format, which is the run's own
    tag = f"{short(evaluation.model_digest)}-{short(chosen)}"
    name = Reference.parse(f"{NAMESPACE}/{evaluation.task.lower()}:{tag}")
    with library.draft() as draft:
        draft.add_bytes(EVALUATION_FILE, _bytes(evaluation))
        draft.add_file(SAMPLES_FILE, folder / SAMPLES_FILE)
        if (folder / SCORES_FILE).is_file():  # not if every sample failed
            draft.add_file(SCORES_FILE, folder / SCORES_FILE)
        return draft.publish(name, metadata, lineage=lineage)


def evaluations(library: Library, model_digest: str | None = None) -> Iterator[tuple[Version, Evaluation]]:
    """The evaluations in the library that have a name, the newest first.

    Args:
        model_digest: only those of this version.

    Raises:
        IntegrityError: one is damaged.
    """
    from llmasos.library.kind import Kind

    wanted = None
    if model_digest is not None:
        wanted = {step.version for step in library.catalogue.lineage_using(model_digest) if step.step == EVALUATE}
    for row in library.versions(kind=Kind.REPORT.value):
        if not row.names or (wanted is not None and row.digest not in wanted):
            continue
        version = library.version(row.digest)
        evaluation = evaluation_in(library, version)
        if evaluation is not None:
            yield version, evaluation


def evaluation_in(library: Library, version: Version) -> Evaluation | None:
    """The evaluation that a version of the library is; ``None``: it is something else.

    Raises:
        IntegrityError: it is damaged, or of a newer LLMasOS.
    """
    file = version.manifest.files.get(EVALUATION_FILE)
    if file is None:
        return None
    return _parsed(library.blobs.read(file.digest), version.names[0] if version.names else version.digest)


def samples_path(library: Library, version: Version) -> Path:
    """The samples of an evaluation in the library, as a file to read.

    Raises:
        IntegrityError: it is missing or damaged.
    """
    return library.view(version) / SAMPLES_FILE


def _bytes(evaluation: Evaluation) -> bytes:
    return orjson.dumps(evaluation.as_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)


def _parsed(data: bytes, place: str) -> Evaluation:
    try:
        document = orjson.loads(data)
        if document.get("format", 0) > FORMAT:
            raise IntegrityError(t("{place} was written by a newer LLMasOS", place=place), hint=t("Upgrade LLMasOS."))
        return Evaluation.from_json(document)
    except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError) as error:
        raise IntegrityError(
            t("{path} is damaged: {problem}", path=place, problem=error), hint=t("Run the evaluation again.")
        ) from error
