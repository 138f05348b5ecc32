"""Rendered tokens on disk, found again by what they were made from.

The name of an entry is a digest of the rows, the tokenizer, the template, the options and the code, so that nothing
stale is ever found. An entry is a folder of flat little-endian arrays that are mapped into memory, and ``index.json``
with their SHA-256, written last; the folder gets its name when it is complete. A second process that wants the same
tokens waits for the first and reads what it wrote.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, overload

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from llmasos import progress
from llmasos.data.rendering.account import RenderingAccount
from llmasos.data.rendering.renderer import Renderer
from llmasos.data.rendering.sample import RejectedRow, RenderedRow, RenderedSample
from llmasos.data.row import Row
from llmasos.data.step import Rejection
from llmasos.errors import IntegrityError, InvalidRequest, Unavailable
from llmasos.i18n import t
from llmasos.library.digest import digest_of_file, hex_of
from llmasos.library.disk import full_disk_as_error, sync_file, sync_folder
from llmasos.library.locks import file_lock

_log = logging.getLogger(__name__)

ColumnType = Literal["<i4", "<i8", "|b1"]
_PART_COLUMNS: dict[str, ColumnType] = {"ids": "<i4", "trained": "|b1", "starts": "<i8", "pair_starts": "<i8"}
_ROW_COLUMNS: dict[str, ColumnType] = {"rows": "<i8", "labels": "<i8"}
_NONE = -1


class _Column(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    type: ColumnType
    count: int
    sha256: str


class _Index(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    key: str
    parts: tuple[str, ...]
    columns: dict[str, _Column]
    account: dict[str, Any]
    rejected: list[tuple[int, str, str]]
    checksum: str = ""
    """SHA-256 of the index itself, as it is with this field empty."""

    def to_bytes(self) -> bytes:
        return orjson.dumps(self.model_dump(mode="json"))

    def with_checksum(self) -> _Index:
        empty = self.model_copy(update={"checksum": ""})
        return self.model_copy(update={"checksum": hashlib.sha256(empty.to_bytes()).hexdigest()})


class Samples(Sequence[RenderedSample]):
    """The sequences of one part, read from the mapped file when they are asked for."""

    def __init__(self, columns: dict[str, NDArray[Any]]) -> None:
        self._columns = columns

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) tokens of each sample."""
        return np.diff(self._columns["starts"])

    def __len__(self) -> int:
        return len(self._columns["starts"]) - 1

    @overload
    def __getitem__(self, index: int) -> RenderedSample: ...
    @overload
    def __getitem__(self, index: slice) -> list[RenderedSample]: ...
    def __getitem__(self, index: int | slice) -> RenderedSample | list[RenderedSample]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        begin, end = self._columns["starts"][position : position + 2]
        pair_start = int(self._columns["pair_starts"][position])
        return RenderedSample(
            self._columns["ids"][begin:end],
            self._columns["trained"][begin:end],
            pair_start=None if pair_start == _NONE else pair_start,
        )


@dataclass(frozen=True)
class CachedTokens:
    """The rendered samples of a data set.

    Attributes:
        key: digest of what they were made from.
        parts: the sequences by name, all of the same length N: ``text``; ``chosen`` and ``rejected``; ``source`` and
            ``target``.
        rows: (N,) number of the row that each sample came from.
        labels: (N,) class or judgement of each sample, ``None`` for samples without.
        account: what happened on the way, the same whether the tokens were made now or found.
        rejected: the rows that gave no sample.
        reused: whether they were found.
    """

    key: str
    parts: dict[str, Samples]
    rows: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    account: RenderingAccount
    rejected: tuple[RejectedRow, ...]
    reused: bool

    def __len__(self) -> int:
        return len(self.rows)


class TokenCache:
    """The cache in a folder, by convention ``cache/tokens`` of the home folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def tokens(
        self, renderer: Renderer, rows: Callable[[], Iterable[Row]], *, rows_digest: str | None = None
    ) -> CachedTokens:
        """The tokens of some rows: found, or made and kept.

        Args:
            rows: gives the rows from the start, each time it is called.
            rows_digest: a digest of the rows if one is known (of a version in the library); else they are read once
                more for it.

        Raises:
            InvalidRequest: rows of kinds that give different sequences are mixed; or see :meth:`Renderer.render`.
            OutOfDisk: the disk is full.
        """
        key = cache_key(renderer, rows_digest or digest_of_rows(rows()))
        folder = self.root / hex_of(key)
        found = self._read(folder, key, report=False)
        if found is not None:
            return found
        with self._lock(key):
            found = self._read(folder, key, report=True)  # by another process, meanwhile
            if found is not None:
                return found
            building = folder.with_suffix(".building")
            shutil.rmtree(building, ignore_errors=True)  # of a process that was killed: its lock is free
            try:
                with full_disk_as_error(self.root):
                    _build(building, key, renderer, rows())
                    shutil.rmtree(folder, ignore_errors=True)  # a damaged one
                    building.rename(folder)
                    sync_folder(self.root)
            except BaseException:
                shutil.rmtree(building, ignore_errors=True)
                raise
        return _open(folder, key, reused=False)

    def entries(self) -> list[tuple[str, int]]:
        """(key, bytes) of all entries, the one unused for longest first."""
        folders = [path for path in self.root.glob("*") if (path / "index.json").is_file() and len(path.name) == 64]
        folders.sort(key=lambda path: (path / "index.json").stat().st_mtime_ns)
        return [(f"sha256:{path.name}", _size(path)) for path in folders]

    def prune(self, keep: int) -> int:
        """Remove the entries unused for longest until at most ``keep`` bytes remain; returns the bytes freed.

        Whoever has mapped an entry keeps reading it.
        """
        entries = self.entries()
        excess = sum(size for _, size in entries) - keep
        freed = 0
        for key, size in entries:
            if freed >= excess:
                break
            with self._lock(key):
                shutil.rmtree(self.root / hex_of(key), ignore_errors=True)
            freed += size
        return freed

    def _read(self, folder: Path, key: str, *, report: bool) -> CachedTokens | None:
        try:
            found = _open(folder, key, reused=True)
        except FileNotFoundError:
            return None
        except IntegrityError as error:
            if report:
                message = t("tokens kept from an earlier run are damaged and are made again: {problem}",
                            problem=error.message)  # fmt: skip
                _log.warning(message)
                progress.current().log(message, level="warning")
            return None
        os.utime(folder / "index.json")
        return found

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        path = self.root / "locks" / f"{hex_of(key)}.lock"
        what = t("the same tokens are being made")
        try:
            with file_lock(path, timeout=0.2, waiting_for=what):
                yield
                return
        except Unavailable:
            progress.current().log(t("another process makes the same tokens; waiting for it"))
        with file_lock(path, timeout=-1, waiting_for=what):
            yield


def cache_key(renderer: Renderer, rows_digest: str) -> str:
    """The key of the tokens of some rows: a digest of the rows and of all that decides about their tokens."""
    return "sha256:" + hashlib.sha256(f"{rows_digest}\n{renderer.digest}".encode()).hexdigest()


def digest_of_rows(rows: Iterable[Row]) -> str:
    """A SHA-256 of the samples of rows, in order; ids, origins and metadata do not matter for tokens."""
    hasher = hashlib.sha256()
    for row in rows:
        hasher.update(orjson.dumps([row.sample.kind, row.sample.as_json()], option=orjson.OPT_APPEND_NEWLINE))
    return "sha256:" + hasher.hexdigest()


# --- writing ---------------------------------------------------------------------------------------------------------


class _ColumnWriter:
    """A flat array that grows on disk, with the digest of what was written."""

    def __init__(self, path: Path, kind: ColumnType) -> None:
        self._path = path
        self._file: BinaryIO = path.open("wb")
        self._hasher = hashlib.sha256()
        self._kind = kind
        self._count = 0

    def add(self, values: NDArray[Any] | Sequence[int]) -> None:
        data = np.ascontiguousarray(values, dtype=self._kind)
        self._file.write(data.data)
        self._hasher.update(data.data)
        self._count += len(data)

    def close(self) -> _Column:
        self._file.close()
        sync_file(self._path)
        return _Column(type=self._kind, count=self._count, sha256=self._hasher.hexdigest())


def _build(building: Path, key: str, renderer: Renderer, rows: Iterable[Row]) -> None:
    building.mkdir(parents=True)
    account = RenderingAccount()
    rejected: list[tuple[int, str, str]] = []
    writers = {name: _ColumnWriter(building / f"{name}.bin", kind) for name, kind in _ROW_COLUMNS.items()}
    parts: tuple[str, ...] = ()
    positions: dict[str, int] = {}
    try:
        with progress.current().task(t("render rows"), unit=t("rows")) as task:
            for item in renderer.render(rows, account):
                task.update(account.rows)
                if isinstance(item, RejectedRow):
                    rejected.append((item.row, item.rejection.reason, item.rejection.detail))
                    continue
                if not parts:
                    parts = tuple(item.parts)
                    for part in parts:
                        for name, kind in _PART_COLUMNS.items():
                            writers[f"{part}.{name}"] = _ColumnWriter(building / f"{part}.{name}.bin", kind)
                        writers[f"{part}.starts"].add([0])
                        positions[part] = 0
                _write(item, parts, positions, writers)
    finally:
        columns = {name: writer.close() for name, writer in writers.items()}
    index = _Index(key=key, parts=parts, columns=columns, account=account.as_json(), rejected=rejected)
    (building / "index.json").write_bytes(index.with_checksum().to_bytes())
    sync_file(building / "index.json")
    sync_folder(building)


def _write(
    item: RenderedRow, parts: tuple[str, ...], positions: dict[str, int], writers: dict[str, _ColumnWriter]
) -> None:
    if tuple(item.parts) != parts:
        raise InvalidRequest(
            t("row {row} gives {names}, rows before it {others}: kinds of samples cannot be mixed in one set of tokens",
              row=item.row, names=", ".join(item.parts), others=", ".join(parts)),
            hint=t("Prepare each kind of sample as a data set of its own."),
        )  # fmt: skip
    writers["rows"].add([item.row])
    writers["labels"].add([_NONE if item.label is None else item.label])
    for part, sample in item.parts.items():
        positions[part] += len(sample)
        writers[f"{part}.ids"].add(sample.ids)
        writers[f"{part}.trained"].add(sample.trained)
        writers[f"{part}.starts"].add([positions[part]])
        writers[f"{part}.pair_starts"].add([_NONE if sample.pair_start is None else sample.pair_start])


# --- reading ---------------------------------------------------------------------------------------------------------


def _open(folder: Path, key: str, *, reused: bool) -> CachedTokens:
    """Read an entry and check every byte of it.

    Raises:
        FileNotFoundError: there is none.
        IntegrityError: it is damaged.
    """
    try:
        index = _Index.model_validate_json((folder / "index.json").read_bytes())
    except ValidationError as error:
        raise _damaged(folder / "index.json", str(error.errors()[0]["msg"])) from error
    if index != index.with_checksum():
        raise _damaged(folder / "index.json", t("its checksum is wrong"))
    if index.key != key:
        raise _damaged(folder / "index.json", t("it belongs to other tokens"))
    arrays = {name: _map(folder / f"{name}.bin", column) for name, column in index.columns.items()}
    labels = arrays["labels"]
    return CachedTokens(
        key,
        {part: Samples({name: arrays[f"{part}.{name}"] for name in _PART_COLUMNS}) for part in index.parts},
        arrays["rows"],
        None if len(labels) == 0 or (labels == _NONE).all() else labels,
        RenderingAccount.from_json(index.account),
        tuple(RejectedRow(row, Rejection(reason, detail)) for row, reason, detail in index.rejected),
        reused,
    )


def _map(path: Path, column: _Column) -> NDArray[Any]:
    kind = np.dtype(column.type)
    try:
        if path.stat().st_size != column.count * kind.itemsize:
            raise _damaged(path, t("its size is wrong"))
        if digest_of_file(path) != f"sha256:{column.sha256}":
            raise _damaged(path, t("its checksum is wrong"))
    except FileNotFoundError as error:
        raise _damaged(path, t("it is missing")) from error
    return np.memmap(path, kind, "r") if column.count else np.empty(0, kind)


def _damaged(path: Path, problem: str) -> IntegrityError:
    return IntegrityError(
        t("{path} is damaged: {problem}", path=path, problem=problem), hint=t("It will be made again when needed.")
    )


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())
