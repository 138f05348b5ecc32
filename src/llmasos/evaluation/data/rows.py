"""The rows of a split, whatever their files are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmasos.data.sources.config import FileFormat, LibrarySource
from llmasos.data.sources.plan import Reading
from llmasos.data.sources.read import read_piece
from llmasos.data.sources.record import Broken
from llmasos.data.sources.scan import format_of, scan_file
from llmasos.errors import IntegrityError, InvalidRequest, NotFound, did_you_mean
from llmasos.evaluation.data.fetch import Places, fetch, is_here, name_of
from llmasos.evaluation.data.options import AlignedFiles, Data, DataFile, HubFile, LibraryData, LocalFile, UrlFile
from llmasos.i18n import t

_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".jsonl.gz")


@dataclass(frozen=True)
class Rows:
    """The rows of a split, the digests of its files by name, and what a reader of the scores must know."""

    rows: list[Mapping[str, Any]]
    digests: dict[str, str]
    notes: tuple[str, ...] = ()


def read_split(data: Data, split: str, places: Places, *, sample: bool = False) -> Rows:
    """All rows of a split in the order of its files.

    Args:
        sample: read the few made-up rows of the task instead.

    Raises:
        NotFound: a file is not here, or the task has no such split or no sample.
        InvalidRequest: a file cannot be read as what it is said to be, or holds no row.
        IntegrityError: a file is damaged, or is not the one that the task names.
        Unavailable, Unauthorised: a file cannot be fetched.
    """
    if sample:
        if data.sample is None:
            raise NotFound(
                t("the task {task} has no sample", task=places.task),
                hint=t("Leave out --sample, or name rows as data.sample in the task."),
            )
        own = Places(places.task, places.folder)
        found = _gathered([data.sample], own, split)
        return Rows(found.rows, found.digests, (t("made-up rows: these scores say nothing about the model"),))
    files = data.splits.get(split)
    if files is None:
        raise NotFound(
            t("the task {task} has no split {split!r}", task=places.task, split=split),
            hint=did_you_mean(split, data.splits) or t("It has: {splits}.", splits=", ".join(data.splits)),
        )
    replaced = _users_own_split(split, places)
    if replaced is not None:
        file = LocalFile(path=str(replaced))
        note = t("the split {split} is the file {path} of your own", split=split, path=replaced)
        found = _gathered([file], places, split)
        return Rows(found.rows, found.digests, (note,))
    return _gathered(files, places, split)


def fetch_split(data: Data, split: str, places: Places, *, sample: bool = False) -> None:
    """Fetch and check the files of a split without reading rows, to fail before a model is loaded.

    Raises: as :func:`read_split`, but for what concerns rows.
    """
    if sample or split not in data.splits or _users_own_split(split, places) is not None:
        return
    for file in files_of(data, split):
        fetch(file, places)


def files_of(data: Data, split: str) -> Iterator[HubFile | UrlFile | LocalFile]:
    """The single files of a split, those of the library left out."""
    for file in data.splits.get(split, ()):
        parts = file.files.values() if isinstance(file, AlignedFiles) else [file]
        for part in parts:
            if not isinstance(part, LibraryData):
                yield part


def missing(data: Data, split: str, places: Places) -> list[HubFile | UrlFile | LocalFile]:
    """The files of a split that are not on this machine yet; see :func:`~llmasos.evaluation.data.fetch.is_here`."""
    if _users_own_split(split, places) is not None:
        return []
    return [file for file in files_of(data, split) if not is_here(file, places)]


def _users_own_split(split: str, places: Places) -> Path | None:
    """A file that replaces a whole split: ``FOLDER/<task>/<split>.jsonl`` or another format."""
    if places.data is None:
        return None
    paths = (places.data / places.task / f"{split}{suffix}" for suffix in _SUFFIXES)
    return next((path.absolute() for path in paths if path.is_file()), None)


def _gathered(files: Sequence[DataFile], places: Places, split: str) -> Rows:
    rows: list[Mapping[str, Any]] = []
    digests: dict[str, str] = {}
    notes: list[str] = []
    for file in files:
        found = _read(file, places)
        rows += found.rows
        digests |= found.digests
        notes += found.notes
    if not rows:
        raise InvalidRequest(
            t("the split {split!r} of the task {task} has no rows", split=split, task=places.task),
            hint=t("Check the files: {files}.", files=", ".join(digests)),
        )
    return Rows(rows, digests, tuple(notes))


def _read(file: DataFile, places: Places) -> Rows:
    if isinstance(file, LibraryData):
        return _from_library(file)
    if isinstance(file, AlignedFiles):
        return _aligned(file, places)
    fetched = fetch(file, places)
    rows = list(_rows_of(fetched.path, file))
    notes = () if fetched.note is None else (fetched.note,)
    return Rows(rows, {name_of(file): fetched.digest}, notes)


def _rows_of(path: Path, file: HubFile | UrlFile | LocalFile) -> Iterator[Mapping[str, Any]]:
    form: FileFormat | None = file.format or format_of(path)
    if form is None:
        raise InvalidRequest(
            t("the format of {path} is not known", path=path), hint=t("Name it in the task: format: jsonl")
        )
    reading = Reading(
        columns=file.columns, delimiter=file.delimiter, quote=file.quote, records=file.records, document=file.document
    )
    for fields in _records(path, form, reading, file.encoding):
        yield {**fields, **file.add}


def _records(path: Path, form: FileFormat, reading: Reading, encoding: str | None) -> Iterator[Mapping[str, Any]]:
    plan = scan_file(
        path, path.name, form, encoding=encoding, cut_lines=False, piece_bytes=1 << 62, advance=lambda _: None
    )
    for piece in plan.pieces:
        for item in read_piece(plan, piece, reading):
            if isinstance(item, Broken):
                raise InvalidRequest(
                    t("{place}: cannot be read: {problem}", place=f"{path}:{item.line}", problem=item.detail),
                    hint=t("Check the format, delimiter, quote and encoding that the task names for the file."),
                )
            yield item.fields


def _aligned(file: AlignedFiles, places: Places) -> Rows:
    parts = {column: _read(part, places) for column, part in file.files.items()}
    lengths = {column: len(part.rows) for column, part in parts.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{column}: {count}" for column, count in lengths.items())
        raise IntegrityError(
            t("the files of the task {task} do not have equally many lines: {lengths}", task=places.task, lengths=told),
            hint=t("Get the files again; line N of each must belong together."),
        )
    count = next(iter(lengths.values()))
    rows: list[Mapping[str, Any]] = [
        {column: part.rows[index]["text"] for column, part in parts.items()} for index in range(count)
    ]
    digests = {name: digest for part in parts.values() for name, digest in part.digests.items()}
    return Rows(rows, digests, tuple(note for part in parts.values() for note in part.notes))


def _from_library(file: LibraryData) -> Rows:
    from llmasos.data.sources.library import find_library_data_set

    found = find_library_data_set(LibrarySource(reference=file.reference, split=file.split))
    rows: list[Mapping[str, Any]] = []
    for path in found.files:
        form = format_of(path)
        assert form is not None, path
        rows += _records(path, form, Reading(), None)
    return Rows(rows, {file.reference: found.reference_digest or ""})
