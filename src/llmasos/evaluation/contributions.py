"""What each sample contributes to each score, on disk, so that runs can be compared without computing anything again.

``scores.parquet`` has one row per sample: its id, for each score the figure of the sample alone, and for each array of
sums (see :mod:`llmasos.evaluation.metrics.aggregation`) the sample's part. How scores are made of these stands in the
metadata of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from llmasos.errors import IntegrityError
from llmasos.evaluation.metrics.aggregation import Aggregation, FloatArray
from llmasos.evaluation.metrics.score import Score
from llmasos.i18n import t
from llmasos.library.disk import replacing

SCORES_FILE = "scores.parquet"

_KEY = b"llmasos.scores"


@dataclass(frozen=True, eq=False)
class Contributions:
    """The scores of a run with the samples that they are made of."""

    sample_ids: tuple[str, ...]
    scores: Mapping[str, Score]


def write_contributions(path: Path, sample_ids: Sequence[str], scores: Mapping[str, Score]) -> None:
    """Write the scores; the file appears whole or not at all.

    Raises:
        OutOfDisk: it does not fit.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {"sample_id": pa.array(list(sample_ids), pa.string())}
    places: dict[int, str] = {}
    head: dict[str, Any] = {}
    for number, (name, score) in enumerate(scores.items()):
        entry: dict[str, Any] = {
            "value": score.value, "signature": score.signature, "higher_is_better": score.higher_is_better,
            "samples": score.samples, "sums": None, "aggregation": None, "per_sample": None,
        }  # fmt: skip
        if score.sums is not None and score.aggregation is not None:
            key = id(score.sums)
            if key not in places:
                places[key] = f"sums{len(places)}"
                columns[places[key]] = pa.array(list(score.sums), pa.list_(pa.float64()))
            entry |= {"sums": places[key], "aggregation": score.aggregation.as_json()}
        if score.per_sample is not None:
            entry["per_sample"] = f"score{number}"
            columns[f"score{number}"] = pa.array(score.per_sample, pa.float64())
        head[name] = entry
    table = pa.table(columns).replace_schema_metadata({_KEY: orjson.dumps(head)})
    with replacing(path) as partial:
        pq.write_table(table, partial, compression="zstd")


def read_contributions(path: Path) -> Contributions:
    """The scores of a file that :func:`write_contributions` wrote.

    Raises:
        IntegrityError: it is damaged or something else.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
        head = orjson.loads((table.schema.metadata or {})[_KEY])
        arrays = {
            name: np.asarray(table[name].to_pylist(), dtype=np.float64).reshape(len(table), -1)
            for name in table.column_names
            if name.startswith("sums")
        }
        scores = {name: _score(entry, table, arrays) for name, entry in head.items()}
        return Contributions(tuple(table["sample_id"].to_pylist()), scores)
    except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise IntegrityError(
            t("{path} is damaged: {problem}", path=path, problem=error), hint=t("Run the evaluation again.")
        ) from error


def _score(entry: Mapping[str, Any], table: Any, arrays: Mapping[str, FloatArray]) -> Score:
    value, per_sample = entry["value"], entry["per_sample"]
    return Score(
        float("nan") if value is None else float(value),
        None if entry["sums"] is None else arrays[entry["sums"]],
        None if entry["aggregation"] is None else Aggregation.from_json(entry["aggregation"]),
        None if per_sample is None else np.asarray(table[per_sample].to_pylist(), dtype=np.float64),
        entry["signature"],
        bool(entry["higher_is_better"]),
        int(entry["samples"]),
    )
