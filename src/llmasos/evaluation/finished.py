"""All finished evaluations of a home folder as a list that is quick to make again, each with an address of its own."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos.errors import IntegrityError, NotFound
from llmasos.evaluation.result import Evaluation
from llmasos.evaluation.runs import Run, standard_folders
from llmasos.evaluation.sample_file import SampleFile
from llmasos.evaluation.store import EVALUATION_FILE, SAMPLES_FILE, evaluation_in, read_evaluation
from llmasos.i18n import t
from llmasos.library.kind import Kind
from llmasos.library.manifest import canonical_json

if TYPE_CHECKING:
    from llmasos.library.store import Library


def key_of(evaluation: Evaluation) -> str:
    """Sixteen hexadecimal digits that name an evaluation in addresses, wherever its files lie."""
    parts = [
        evaluation.model, evaluation.model_digest, evaluation.task, evaluation.task_digest, evaluation.data_digest,
        evaluation.settings_digest, evaluation.created,
    ]  # fmt: skip
    return hashlib.sha256(canonical_json(parts)).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Finished:
    """An evaluation, and where its files are."""

    evaluation: Evaluation
    place: Path | str
    """A folder, or the digest of a version in the library."""
    library: Library = field(repr=False)

    @cached_property
    def key(self) -> str:
        """See :func:`key_of`."""
        return key_of(self.evaluation)

    def run(self) -> Run:
        """The evaluation with its files checked, which reads them.

        Raises:
            IntegrityError: a file is missing or damaged.
            NotFound: it was removed meanwhile.
        """
        if isinstance(self.place, Path):
            return Run(self.evaluation, self.place)
        return Run(self.evaluation, self.library.view(self.library.version(self.place)))

    def samples(self) -> SampleFile:
        """Its samples; raises as :meth:`run`, but checks nothing before it is read."""
        if isinstance(self.place, Path):
            return SampleFile(self.place / SAMPLES_FILE)
        return SampleFile(self.library.view(self.library.version(self.place), verify=False) / SAMPLES_FILE)


class FinishedEvaluations:
    """The evaluations of a library, of endpoints, of folders and of runs. What was read once is not read again.

    Attributes:
        damaged: what could not be read the last time, as people are told it.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._lock = threading.Lock()
        self._known: dict[object, Evaluation | None] = {}
        self.damaged: list[str] = []

    def all(self) -> list[Finished]:
        """Each evaluation once, the newest first."""
        with self._lock:
            damaged: list[str] = []
            unique = {item.key: item for item in [*self._in_folders(damaged), *self._in_library(damaged)]}
            self.damaged = damaged
        return sorted(unique.values(), key=lambda item: item.evaluation.created, reverse=True)

    def get(self, key: str) -> Finished:
        """The evaluation with this key.

        Raises:
            NotFound: there is none.
        """
        found = next((item for item in self.all() if item.key == key), None)
        if found is None:
            raise NotFound(
                t("there is no evaluation {key}", key=key), hint=t("It may have been removed, or replaced by a newer.")
            )
        return found

    def _in_library(self, damaged: list[str]) -> Iterator[Finished]:
        for row in self._library.versions(kind=Kind.REPORT.value):
            if not row.names:
                continue
            if row.digest not in self._known:
                try:
                    found = evaluation_in(self._library, self._library.version(row.digest))
                except (IntegrityError, NotFound) as error:  # the second: it was removed meanwhile
                    damaged.append(error.message)
                    continue
                self._known[row.digest] = found
            evaluation = self._known[row.digest]
            if evaluation is not None:
                yield Finished(evaluation, row.digest, self._library)

    def _in_folders(self, damaged: list[str]) -> Iterator[Finished]:
        for folder in standard_folders(self._library.home):
            for path in folder.rglob(EVALUATION_FILE):
                try:
                    seen = path.stat()
                    known = (path, seen.st_mtime_ns, seen.st_size)
                    if known not in self._known:
                        self._known[known] = read_evaluation(path.parent)
                except FileNotFoundError:
                    continue
                except (IntegrityError, NotFound) as error:
                    damaged.append(error.message)
                    continue
                evaluation = self._known[known]
                if evaluation is not None:
                    yield Finished(evaluation, path.parent, self._library)
