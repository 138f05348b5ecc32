from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llmasos.errors import IntegrityError
from llmasos.evaluation.contributions import read_contributions, write_contributions
from llmasos.evaluation.metrics.base import Context
from llmasos.evaluation.metrics.registry import compute
from llmasos.evaluation.records import Status
from llmasos.evaluation.scoring import entries
from score_records import classified, metric, record


def test_what_is_written_is_read(tmp_path: Path) -> None:
    records = classified([0, 1, 2, 1], [0, 1, None, 2], ("a", "b", "c"))
    records.append(record(4, output="x y", references=("x",), status=Status.WRONG, target=0, details={"chosen": 1}))
    names = ("accuracy", "f1", "mcc", "calibration", "distinct")
    scores = compute([metric(name) for name in names], records, Context(labels=("a", "b", "c")))
    write_contributions(tmp_path / "scores.parquet", [one.sample_id for one in records], scores)
    found = read_contributions(tmp_path / "scores.parquet")
    assert found.sample_ids == tuple(one.sample_id for one in records)
    assert list(found.scores) == list(scores)
    for name, score in scores.items():
        read = found.scores[name]
        assert read.value == pytest.approx(score.value, nan_ok=True)
        assert (read.aggregation, read.signature, read.samples) == (score.aggregation, score.signature, score.samples)
        for one, other in ((read.sums, score.sums), (read.per_sample, score.per_sample)):
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                assert np.array_equal(one, other, equal_nan=True)
    # Intervals made again from the file are those made at first.
    assert entries(found.scores, resamples=100) == entries(scores, resamples=100)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.parquet"]


def test_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    path.write_bytes(b"not parquet")
    with pytest.raises(IntegrityError, match=r"scores\.parquet is damaged"):
        read_contributions(path)
