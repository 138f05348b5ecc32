"""Records as Parquet: one row per sample, readable by every data tool."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from llmasos.errors import IntegrityError
from llmasos.evaluation.records import Record
from llmasos.i18n import t
from llmasos.library.disk import replacing

_ROWS_IN_GROUP = 1000  # so that a page of samples is read without the others


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write all records, in their order; the file appears whole or not at all.

    Raises:
        OutOfDisk: they do not fit.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([_row(record) for record in records], schema=_schema())
    with replacing(path) as partial:
        pq.write_table(table, partial, compression="zstd", row_group_size=_ROWS_IN_GROUP)


def read_records(path: Path) -> list[Record]:
    """The records of a file that :func:`write_records` wrote.

    Raises:
        IntegrityError: it is damaged or something else.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Not read_table, which takes a path of this form for a partitioned data set.
        rows = pq.ParquetFile(path).read().to_pylist()
        return [record_of(row) for row in rows]
    except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise IntegrityError(
            t("{path} is damaged: {problem}", path=path, problem=error), hint=t("Run the evaluation again.")
        ) from error


def _row(record: Record) -> dict[str, Any]:
    values = record.as_json()
    lengths = values.pop("choice_lengths")
    for place, unit in enumerate(("tokens", "characters", "bytes")):
        values[f"choice_{unit}"] = None if lengths is None else [entry[place] for entry in lengths]
    values["details"] = orjson.dumps(values["details"], option=orjson.OPT_NON_STR_KEYS).decode()
    return values


def record_of(row: dict[str, Any]) -> Record:
    """The record in a row of the file; takes the row apart."""
    units = [row.pop(f"choice_{unit}") for unit in ("tokens", "characters", "bytes")]
    row["choice_lengths"] = None if units[0] is None else list(zip(*units, strict=True))
    return Record.from_json({**row, "details": orjson.loads(row["details"])})


def _schema() -> Any:
    import pyarrow as pa

    texts, floats, whole = pa.list_(pa.string()), pa.list_(pa.float64()), pa.int64()
    return pa.schema([
        ("task", pa.string()), ("index", whole), ("sample_id", pa.string()), ("prompt", pa.string()),
        ("prompt_tokens", whole), ("output", pa.string()), ("parsed", pa.string()), ("references", texts),
        ("target", whole), ("status", pa.string()), ("error", pa.string()), ("choice_logprobs", floats),
        ("choice_tokens", pa.list_(whole)), ("choice_characters", pa.list_(whole)), ("choice_bytes", pa.list_(whole)),
        ("loglikelihood", pa.float64()), ("token_count", whole), ("word_count", whole), ("byte_count", whole),
        ("outputs", texts), ("passed", pa.list_(pa.bool_())), ("details", pa.string()),
        ("latency_seconds", pa.float64()),
    ])  # fmt: skip
