"""Parquet and Arrow."""

from __future__ import annotations

import base64
import datetime
import decimal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmasos.data.row import JsonValue
from llmasos.data.sources.plan import FilePlan, Piece
from llmasos.data.sources.record import Items, Record
from llmasos.errors import IntegrityError
from llmasos.i18n import t

_BATCH = 512


def parquet_pieces(path: Path, piece_bytes: int) -> list[Piece]:
    """Pieces of whole row groups of about ``piece_bytes``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
    except pa.ArrowInvalid as error:
        raise _damaged(path, error) from error
    pieces: list[Piece] = []
    start, size, rows, first = 0, 0, 0, 1
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        size += group.total_byte_size
        rows += group.num_rows
        if size >= piece_bytes or index == metadata.num_row_groups - 1:
            pieces.append(Piece(start=start, end=index + 1, first_line=first, size=size))
            start, first, size, rows = index + 1, first + rows, 0, 0
    return pieces


def read_parquet(file: FilePlan, piece: Piece) -> Items:
    """The rows of the row groups of the piece."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file.path) as source:
            groups = range(piece.start, piece.end if piece.end is not None else source.num_row_groups)
            batches = source.iter_batches(batch_size=_BATCH, row_groups=list(groups))
            yield from _records(batches, piece.first_line)
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(Path(file.path), error) from error


def read_arrow(file: FilePlan, piece: Piece) -> Items:
    """The rows of an Arrow file or stream, which is what Hugging Face data sets are cached as."""
    import pyarrow as pa

    try:
        with pa.memory_map(file.path) as source:
            yield from _records(_arrow_batches(source), piece.first_line)
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(Path(file.path), error) from error


def _arrow_batches(source: Any) -> Iterator[Any]:
    import pyarrow as pa

    try:
        reader = pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        yield from pa.ipc.open_stream(source)
        return
    for index in range(reader.num_record_batches):
        yield reader.get_batch(index)


def _records(batches: Iterator[Any], first: int) -> Items:
    number = first
    for batch in batches:
        for start in range(0, batch.num_rows, _BATCH):
            for row in batch.slice(start, _BATCH).to_pylist():
                yield Record(number, {name: plain(value) for name, value in row.items()})
                number += 1


def plain(value: Any) -> JsonValue:
    """A value as JSON can hold it: times in ISO 8601, exact decimals as text, bytes in base 64."""
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _damaged(path: Path, error: Exception) -> IntegrityError:
    return IntegrityError(
        t("{path} is damaged: {problem}", path=path, problem=str(error).splitlines()[0]),
        hint=t("Fetch or compress the file again."),
    )
