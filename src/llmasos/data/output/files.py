"""Writing records into files of the output format; the same rows always give the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from llmasos.data.output.columns import as_columns, schema
from llmasos.data.output.config import OutputFormat
from llmasos.data.pipeline.shard import atomic_file
from llmasos.data.row import Row

_BATCH = 2048


def write_rows(path: Path, rows: Iterable[Row], kind: str, output_format: OutputFormat) -> None:
    """Write rows of one kind into a file."""
    with atomic_file(path) as file:
        if output_format == "jsonl":
            for row in rows:
                record = {name: value for name, value in as_columns(row).items() if value is not None}
                file.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = schema(kind)
        writer: Any = (
            pq.ParquetWriter(file, columns, compression="zstd")
            if output_format == "parquet"
            else pa.ipc.new_file(file, columns)
        )
        with writer:
            for batch in _batches(iter(rows)):
                records = [as_columns(row) for row in batch]
                writer.write(pa.Table.from_pylist(records, schema=columns))


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    # Row groups of a few thousand rows keep readers' memory small; pieces of a file can be read in parallel.
    while batch := list(islice(rows, _BATCH)):
        yield batch
