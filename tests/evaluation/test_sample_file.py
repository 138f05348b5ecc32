"""The samples of an evaluation are found and read a page at a time."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from llmasos.errors import IntegrityError
from llmasos.evaluation import parquet
from llmasos.evaluation.parquet import write_records
from llmasos.evaluation.records import Status
from llmasos.evaluation.sample_file import SampleFile
from score_records import record


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SampleFile:
    """Twenty-five samples in groups of ten."""
    monkeypatch.setattr(parquet, "_ROWS_IN_GROUP", 10)
    statuses = (Status.CORRECT, Status.WRONG, Status.UNPARSED)
    write_records(tmp_path / "samples.parquet", [
        record(index, output=f"Output {index} (done)", references=("Berlin", f"ref{index}"), status=statuses[index % 3],
               parsed=None, details={"place": index})
        for index in range(25)
    ])  # fmt: skip
    assert pq.ParquetFile(tmp_path / "samples.parquet").num_row_groups == 3
    return SampleFile(tmp_path / "samples.parquet")


def test_a_page_of_records_over_groups(samples: SampleFile) -> None:
    found = samples.records([24, 9, 10, 0])
    assert [one.index for one in found] == [24, 9, 10, 0]
    assert found[0].details == {"place": 24} and found[1].references == ("Berlin", "ref9")
    assert samples.records([]) == []


def test_statuses_and_ids(samples: SampleFile) -> None:
    assert samples.statuses()[:4] == [Status.CORRECT, Status.WRONG, Status.UNPARSED, Status.CORRECT]
    assert samples.sample_ids()[23] == "id23"


@pytest.mark.parametrize(("text", "found"), [
    ("output 7", [7]), ("REF2", [2, 20, 21, 22, 23, 24]), ("berlin", list(range(25))), ("(done)", list(range(25))),
    (".*", []), ("id13", [13]), ("question 3", [3]),
])  # fmt: skip
def test_a_search(samples: SampleFile, text: str, found: list[int]) -> None:
    assert samples.search(text) == found


def test_a_damaged_or_missing_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "samples.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(IntegrityError, match="is damaged"):
        SampleFile(tmp_path / "samples.parquet").statuses()
    with pytest.raises(IntegrityError):
        SampleFile(tmp_path / "none.parquet").search("x")
