"""Finished evaluations with their samples: from folders and from the library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos.errors import IntegrityError, NotFound, did_you_mean
from llmasos.evaluation.contributions import SCORES_FILE, Contributions, read_contributions
from llmasos.evaluation.parquet import read_records
from llmasos.evaluation.records import Record
from llmasos.evaluation.result import Evaluation
from llmasos.evaluation.store import EVALUATION_FILE, SAMPLES_FILE, evaluations, read_evaluation
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.library.store import Library


@dataclass(frozen=True, eq=False)
class Run:
    """One evaluation; what it contributes and its records are read when they are asked for."""

    evaluation: Evaluation
    folder: Path

    @cached_property
    def contributions(self) -> Contributions:
        """What each sample contributes to each score.

        Raises:
            IntegrityError: it is missing or damaged.
        """
        path = self.folder / SCORES_FILE
        if not path.is_file():
            raise IntegrityError(
                t("{folder} has no {name}: every sample failed, or the file was lost", folder=self.folder,
                  name=SCORES_FILE),
                hint=t("Run the evaluation again."),
            )  # fmt: skip
        return read_contributions(path)

    @cached_property
    def records(self) -> list[Record]:
        """What was asked and answered.

        Raises:
            IntegrityError: it is damaged.
        """
        return read_records(self.folder / SAMPLES_FILE)


def standard_folders(home: Path) -> list[Path]:
    """Where evaluations are that no library has: those of endpoints, of folders, of runs in the background."""
    return [home / "evaluations", *sorted((home / "runs").glob("*/results"))]


def runs_in(folder: Path) -> list[Run]:
    """All finished evaluations in a folder and below it, the newest first.

    Raises:
        NotFound: there is no such folder, or no evaluation in it.
        IntegrityError: one is damaged.
    """
    if not folder.is_dir():
        raise NotFound(t("there is no folder {path}", path=folder), hint=t("Check the path."))
    found = [Run(read_evaluation(path.parent), path.parent) for path in sorted(folder.rglob(EVALUATION_FILE))]
    if not found:
        read_evaluation(folder)  # says that there is none, and how to get one
    return _newest_first(found)


def runs_of_library(library: Library, model_digest: str | None = None) -> Iterator[Run]:
    """The evaluations of the library, the newest first.

    Args:
        model_digest: those of this version alone.
    """
    found = [Run(evaluation, library.view(version)) for version, evaluation in evaluations(library, model_digest)]
    yield from _newest_first(found)


def runs_of(name: str, library: Library, folders: Sequence[Path]) -> list[Run]:
    """The evaluations that a name stands for: a folder of results, or a model.

    Args:
        name: a path, the name of a model in the library, or the name by which a model was evaluated.
        folders: where evaluations of models that are not in the library are looked for.

    Raises:
        NotFound: there are none.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return runs_in(path)
    known: list[Run] = []
    for folder in folders:
        if folder.is_dir():
            known += [Run(read_evaluation(entry.parent), entry.parent) for entry in folder.rglob(EVALUATION_FILE)]
    digest = _digest(name, library)
    found = [run for run in known if run.evaluation.model == name or (digest and run.evaluation.model_digest == digest)]
    if digest is not None:
        found += runs_of_library(library, digest)
    if found:
        return without_copies(found)
    names = {run.evaluation.model for run in known} | {run.evaluation.model for run in runs_of_library(library)}
    raise NotFound(
        t("there is no evaluation of {name}", name=name),
        hint=did_you_mean(name, names) or t("`llmasos eval {name} --task TASK` makes one.", name=name),
    )


def _digest(name: str, library: Library) -> str | None:
    from llmasos.errors import InvalidReference

    try:
        return library.digest_of(name) if library.has(name) else None
    except InvalidReference:  # the name of a model at an endpoint, or a path
        return None


def without_copies(runs: Sequence[Run]) -> list[Run]:
    """Each run once, the newest first: one may lie in a folder and in the library."""
    unique = {(run.evaluation.model, run.evaluation.task, run.evaluation.created): run for run in runs}
    return _newest_first(list(unique.values()))


def _newest_first(runs: Sequence[Run]) -> list[Run]:
    return sorted(runs, key=lambda run: run.evaluation.created, reverse=True)
