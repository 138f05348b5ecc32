from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmasos.errors import IntegrityError, InvalidRequest, NotFound
from llmasos.evaluation.data.fetch import Places
from llmasos.evaluation.data.options import Data
from llmasos.evaluation.data.rows import Rows, read_split

ROWS = [{"q": "one", "n": 1}, {"q": "zwei, drei", "n": 2}]


def read(tmp_path: Path, files: Any, *, split: str = "test", sample: bool = False, **values: Any) -> Rows:
    data = Data.model_validate({"splits": {"test": files}, **values.pop("data", {})})
    return read_split(data, split, Places("arc", tmp_path, **values), sample=sample)


def test_every_format(tmp_path: Path) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "a.json").write_text(json.dumps(ROWS))
    (tmp_path / "b.json").write_text(json.dumps({"data": {"rows": ROWS}}))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    for file in ("a.jsonl", "a.jsonl.gz", "a.json", {"path": "b.json", "records": "data.rows"}, "a.parquet"):
        assert read(tmp_path, file).rows == ROWS, file
    (tmp_path / "a.csv").write_text('q,n\none,1\n"zwei, drei",2\n')
    (tmp_path / "a.tsv").write_text("one\t1\nzwei, drei\t2\n")
    (tmp_path / "a.dat").write_text("one;1\nzwei, drei;2\n")
    texts = [{"q": row["q"], "n": str(row["n"])} for row in ROWS]
    assert read(tmp_path, "a.csv").rows == texts
    assert read(tmp_path, {"path": "a.tsv", "columns": ["q", "n"]}).rows == texts
    semicolons = {"path": "a.dat", "format": "csv", "columns": ["q", "n"], "delimiter": ";", "quote": ""}
    assert read(tmp_path, semicolons).rows == texts


def test_lines_paragraphs_and_whole_texts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\nb\n\nc\n")
    assert [row["text"] for row in read(tmp_path, "a.txt").rows] == ["a", "b", "c"]
    whole = {"path": "a.txt", "document": "file"}
    assert [row["text"] for row in read(tmp_path, whole).rows] == ["a\nb\n\nc"]
    paragraphs = {"path": "a.txt", "document": "paragraph"}
    assert [row["text"] for row in read(tmp_path, paragraphs).rows] == ["a\nb", "c"]


def test_other_encodings(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("中文文本，编码为国标".encode("gb18030"))
    assert read(tmp_path, {"path": "a.txt", "encoding": "gb18030"}).rows[0]["text"] == "中文文本，编码为国标"


def test_several_files_with_columns_of_their_own(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / f"{name}.jsonl").write_text('{"q": 1}\n')
    found = read(tmp_path, [{"path": f"{name}.jsonl", "add": {"subject": name}} for name in "xy"])
    assert found.rows == [{"q": 1, "subject": "x"}, {"q": 1, "subject": "y"}]
    assert set(found.digests) == {"x.jsonl", "y.jsonl"}
    assert len(found.notes) == 2


def test_lines_that_belong_together(tmp_path: Path) -> None:
    (tmp_path / "en").write_text("one\ntwo\n")
    (tmp_path / "de.gz").write_bytes(gzip.compress(b"eins\nzwei\n"))
    files = {"en": {"path": "en", "format": "text"}, "de": {"path": "de.gz", "format": "text"}}
    assert read(tmp_path, {"source": "aligned", "files": files}).rows == [
        {"en": "one", "de": "eins"}, {"en": "two", "de": "zwei"},
    ]  # fmt: skip
    (tmp_path / "en").write_text("one\n")
    with pytest.raises(IntegrityError, match="en: 1, de: 2"):
        read(tmp_path, {"source": "aligned", "files": files})


def test_a_row_that_cannot_be_read_is_named_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"q": 1}\n{"q": }\n')
    with pytest.raises(InvalidRequest, match=r"a\.jsonl:2: cannot be read"):
        read(tmp_path, "a.jsonl")


def test_no_rows_and_unknown_formats(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(InvalidRequest, match="has no rows"):
        read(tmp_path, "a.jsonl")
    (tmp_path / "a.xyz").write_text("x")
    with pytest.raises(InvalidRequest, match=r"format of .*a\.xyz is not known"):
        read(tmp_path, "a.xyz")


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        read(tmp_path, "a.jsonl", split="tset")
    assert caught.value.hint == "did you mean test?"


def test_the_sample_of_a_task(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text('{"q": "made up"}\n')
    found = read(tmp_path, "a.jsonl", sample=True, data={"sample": {"path": "own.jsonl"}})
    assert found.rows == [{"q": "made up"}]
    with pytest.raises(NotFound, match="has no sample"):
        read(tmp_path, "a.jsonl", sample=True)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_a_split_of_the_users_own(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "data" / "arc"
    folder.mkdir(parents=True)
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), folder / "test.parquet")
    else:
        lines = "".join(json.dumps(row) + "\n" for row in ROWS)
        (folder / f"test{suffix}").write_text(lines if suffix == ".jsonl" else json.dumps(ROWS))
    data = Data.model_validate({"splits": {"test": {"source": "url", "url": "http://127.0.0.1:9/x.jsonl"}}})
    found = read_split(data, "test", Places("arc", tmp_path, tmp_path / "data"))
    assert found.rows == ROWS
    assert found.notes[0].startswith("the split test is the file ")


def test_a_data_set_of_the_library(tmp_path: Path) -> None:
    from llmasos.library.kind import Kind
    from llmasos.library.metadata import Metadata
    from llmasos.library.reference import Reference
    from llmasos.library.store import Library

    path = tmp_path / "test-00000.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    with Library().draft() as draft:
        draft.add_file("data/test-00000.parquet", path)
        version = draft.publish(Reference.parse("my/rows:v1"), Metadata(kind=Kind.DATASET))
    found = read(tmp_path, {"source": "library", "reference": "my/rows:v1"})
    assert found.rows == ROWS
    assert found.digests == {"my/rows:v1": version.digest}
