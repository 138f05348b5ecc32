"""Every format gives the same records, and what cannot be read is named."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from llmasos.data.row import Label, Row, Text
from llmasos.data.sources.config import FileSource
from llmasos.data.sources.plan import Plan
from llmasos.data.sources.planning import make_plan
from llmasos.data.sources.rows import Unreadable, planned_rows
from llmasos.errors import IntegrityError, InvalidRecipe

RECORDS = [{"text": f"Text {number}, “quoted” – 中文\tand more", "label": f"c{number % 3}"} for number in range(50)]


def plan_of(folder: Path, shard_bytes: int = 1 << 20, **source: object) -> Plan:
    return make_plan([FileSource(**source)], folder, shard_bytes=shard_bytes)  # type: ignore[arg-type]


def read(folder: Path, shard_bytes: int = 1 << 20, **source: object) -> tuple[list[Row], list[Unreadable]]:
    items = list(planned_rows(plan_of(folder, shard_bytes, **source)))
    return [item for item in items if isinstance(item, Row)], [item for item in items if isinstance(item, Unreadable)]


def json_lines() -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in RECORDS).encode()


def table_file(delimiter: str) -> bytes:
    import csv

    out = io.StringIO()
    if delimiter == "\t":
        out.write("text\tlabel\n" + "".join(f"{r['text'].replace(chr(9), ' ')}\t{r['label']}\n" for r in RECORDS))
    else:
        writer = csv.writer(out)
        writer.writerows([["text", "label"], *([r["text"], r["label"]] for r in RECORDS)])
    return out.getvalue().encode()


def parquet_file() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(RECORDS), sink, row_group_size=7)
    return sink.getvalue()


def arrow_file(stream: bool) -> bytes:
    sink = io.BytesIO()
    table = pa.Table.from_pylist(RECORDS)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=9)
    return sink.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "a.jsonl": json_lines,
    "a.json": lambda: json.dumps(RECORDS).encode(),
    "pretty.json": lambda: json.dumps(RECORDS, indent=2, ensure_ascii=False).encode(),
    "lines.json": json_lines,
    "a.csv": lambda: table_file(","),
    "a.tsv": lambda: table_file("\t"),
    "a.parquet": parquet_file,
    "a.arrow": lambda: arrow_file(False),
    "stream.arrow": lambda: arrow_file(True),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FILES[name]())
    rows, broken = read(tmp_path, path=name)
    tab = " " if name.endswith(".tsv") else "\t"
    assert [row.sample for row in rows] == [Label(r["text"].replace("\t", tab), r["label"]) for r in RECORDS]
    assert not broken
    assert len({row.id for row in rows}) == len(rows)


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstd)],
)
def test_compressed_files(suffix: str, compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    (tmp_path / f"a.jsonl{suffix}").write_bytes(compress(json_lines()))
    rows, _ = read(tmp_path, path=f"a.jsonl{suffix}")
    assert len(rows) == len(RECORDS)


def test_a_compressed_file_that_ends_too_soon(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(json_lines())[:-20])
    with pytest.raises(IntegrityError, match=r"a\.jsonl\.gz is damaged"):
        read(tmp_path, path="a.jsonl.gz")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=40), max_size=30),
    shard_bytes=st.integers(1, 200),
    end=st.booleans(),
)
def test_cutting_a_file_changes_nothing(lines: list[str], shard_bytes: int, end: bool, tmp_path: Path) -> None:
    """Pieces of a file give the rows and line numbers of the whole file."""
    content = "\n".join(json.dumps({"text": line}, ensure_ascii=False) for line in ["first", *lines])
    (tmp_path / "a.jsonl").write_text(content + ("\n" if end else ""), encoding="utf-8")
    cut, _ = read(tmp_path, shard_bytes, path="a.jsonl")
    whole, _ = read(tmp_path, 1 << 30, path="a.jsonl")
    assert cut == whole
    assert [row.sample for row in whole] == [Text("first"), *map(Text, lines)]
    assert [row.origin.line for row in whole] == list(range(1, len(lines) + 2))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=st.lists(st.dictionaries(st.just("text"), st.text(st.characters(codec="utf-8")), min_size=1), min_size=1),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
)
def test_json_lists_are_read_as_json_does(
    records: list[dict[str, str]], indent: int | None, ascii_only: bool, tmp_path: Path
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(records, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
    rows, _ = read(tmp_path, path="a.json", format="json")
    assert [row.sample for row in rows] == [Text(record["text"]) for record in records]
    assert [row.origin.line for row in rows] == list(range(1, len(records) + 1))


def test_a_json_list_longer_than_the_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmasos.data.sources.readers.json_files._CHUNK", 16)
    records = [{"text": "x" * 50, "n": 12345.5}, {"text": "y"}, {"text": "z" * 200}]
    (tmp_path / "a.json").write_text(json.dumps(records, indent=1))
    rows, _ = read(tmp_path, path="a.json")
    assert [row.sample for row in rows] == [Text(str(record["text"])) for record in records]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('[{"text": "a"},\n{"text": "b"}\n{"text": "c"}]', 3),
        ('[{"text": "a"},\n{"text": b}]', 2),
        ('[{"text": "a"}\n', 2),
    ],
)
def test_a_broken_json_list_names_the_line(content: str, line: int, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(IntegrityError, match=rf"a\.json:{line} is not valid JSON"):
        read(tmp_path, path="a.json", layout={"kind": "text"})


def test_broken_lines_are_kept_with_file_line_and_reason(tmp_path: Path) -> None:
    lines = [b'{"text": "good"}', b'{"text": "cut', b"", b'["a", "list"]', b'{"text": "\xff"}', b'{"text": NaN}',
             b'{"other": 1}', b'"a bare text"', b'{"text": "\\ud800"}']  # fmt: skip
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    rows, broken = read(tmp_path, path="a.jsonl", encoding="utf-8")
    assert [row.sample for row in rows] == [Text("good"), Text("a bare text")]
    assert [(str(item.origin), item.rejection.reason) for item in broken] == [
        ("a.jsonl:2", "broken_json"),
        ("a.jsonl:4", "not_an_object"),
        ("a.jsonl:5", "undecodable"),
        ("a.jsonl:6", "missing_field"),
        ("a.jsonl:7", "missing_field"),
        ("a.jsonl:9", "broken_json"),
    ]
    assert broken[0].raw == '{"text": "cut'
    assert broken[2].raw == '{"text": "\\xff"}'


def test_broken_csv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(
        b'text,label\n"two\nlines",a\ntoo,many,columns\nbad\xff,b\nfine,c\n\n"never closed,d\nlost?,e\n'
    )
    rows, broken = read(tmp_path, path="a.csv", encoding="utf-8")
    assert [row.sample for row in rows] == [Label("two\nlines", "a"), Label("fine", "c")]
    assert [row.origin.line for row in rows] == [2, 6]
    assert [(item.origin.line, item.rejection.reason) for item in broken] == [
        (4, "wrong_number_of_columns"),
        (5, "undecodable"),
        (8, "broken_csv"),
    ]
    assert "2 lines read as one record" in broken[-1].rejection.detail


@pytest.mark.parametrize(
    ("encoding", "content", "found", "certain"),
    [
        ("utf-8", "Grüße, 世界", "utf-8", True),
        ("utf-8-sig", "Grüße", "utf-8-sig", True),
        ("utf-16", "Grüße, 世界", "utf-16", True),
        ("gb18030", "我们在这里说的是一个很长的中文句子，为了让编码可以被发现。", "gb18030", False),
        ("cp1252", "Müller fährt über die Straße; où est l’été?", "cp1252", False),
    ],
)
def test_encodings(encoding: str, content: str, found: str, certain: bool, tmp_path: Path) -> None:
    lines = "\n".join(json.dumps({"text": content}, ensure_ascii=False) for _ in range(5))
    (tmp_path / "a.jsonl").write_bytes(lines.encode(encoding))
    plan = plan_of(tmp_path, path="a.jsonl")
    file = plan.sources[0].files[0]
    rows = [item for item in planned_rows(plan) if isinstance(item, Row)]
    assert [row.sample for row in rows] == [Text(content)] * 5
    assert file.encoding_certain is certain
    assert file.encoding == found or not certain


def test_mostly_utf8_keeps_its_good_lines(tmp_path: Path) -> None:
    good = ['{"text": "für"}'.encode()] * 50
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([*good, b'{"text": "f\xfcr"}']))
    plan = plan_of(tmp_path, path="a.jsonl")
    assert plan.sources[0].files[0].encoding == "utf-8"
    assert plan.sources[0].files[0].undecodable_lines == 1
    rows, broken = read(tmp_path, path="a.jsonl")
    assert (len(rows), [item.rejection.reason for item in broken]) == (50, ["undecodable"])


def test_an_encoding_that_does_not_exist() -> None:
    with pytest.raises(ValidationError, match="'utf-9' is no encoding"):
        FileSource(path="a.jsonl", encoding="utf-9")


@pytest.mark.parametrize(
    ("unit", "texts", "lines"),
    [
        ("file", ["one\ntwo\n\nthree"], [1]),
        ("paragraph", ["one\ntwo", "three"], [1, 4]),
        ("line", ["one", "two", "three"], [1, 2, 4]),
    ],
)
def test_text_files(unit: str, texts: list[str], lines: list[int], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n\nthree\n")
    rows, _ = read(tmp_path, path="a.txt", document=unit)
    assert [row.sample for row in rows] == [Text(text) for text in texts]
    assert [row.origin.line for row in rows] == lines


def test_markdown_head_becomes_columns(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("---\ntitle: T\ndate: 2026-01-02\n---\n\n# Head\n\nBody\n")
    rows, _ = read(tmp_path, path="a.md", metadata=["title", "date"])
    assert rows[0].sample == Text("# Head\n\nBody")
    assert rows[0].metadata == {"title": "T", "date": "2026-01-02"}


def test_html_gives_the_main_text(tmp_path: Path) -> None:
    body = "<p>" + "The main text of this page is long enough to be found by the extractor. " * 5 + "</p>"
    (tmp_path / "a.html").write_text(
        f"<html><head><title>T</title></head><body><nav><a href=x>Menu</a></nav><article>{body}</article></body></html>"
    )
    (tmp_path / "b.html").write_text("<html><body></body></html>")
    rows, broken = read(tmp_path, path="*.html", metadata=["title"])
    assert len(rows) == 1
    text = rows[0].text()
    assert "main text of this page" in text
    assert "Menu" not in text
    assert "<p>" not in text
    assert [(item.origin.file, item.rejection.reason) for item in broken] == [("b.html", "no_main_text")]


def pdf(text: str) -> bytes:
    """A PDF of one page, written by hand."""
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode() if text else b""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >>"
        b" >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out = b"%PDF-1.4\n"
    offsets = []
    for number, item in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, item)
    start = len(out)
    out += b"xref\n0 6\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % start


def test_pdf(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf("Hello from a page"))
    (tmp_path / "b.pdf").write_bytes(pdf(""))
    (tmp_path / "c.pdf").write_bytes(b"%PDF-1.4\nrubbish")
    rows, broken = read(tmp_path, path="*.pdf")
    assert [row.sample for row in rows] == [Text("Hello from a page")]
    assert [(item.origin.file, item.rejection.reason) for item in broken] == [
        ("b.pdf", "no_text"),
        ("c.pdf", "broken_pdf"),
    ]


def test_records_in_an_object(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"data": {"rows": [{"text": "a"}, {"text": "b"}]}}')
    rows, _ = read(tmp_path, path="a.json", records="data.rows")
    assert [row.sample for row in rows] == [Text("a"), Text("b")]
    with pytest.raises(InvalidRecipe, match=r"no list at 'data'"):
        read(tmp_path, path="a.json", records="data")


def test_damaged_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(IntegrityError, match=r"a\.parquet is damaged"):
        read(tmp_path, path="a.parquet")
