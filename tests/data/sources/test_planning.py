from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmasos.data.row import Label, Parallel, Row, Text
from llmasos.data.sources.config import AlignedSource, FileSource, HubSource
from llmasos.data.sources.planning import make_plan
from llmasos.data.sources.rows import planned_rows
from llmasos.errors import InvalidRecipe, InvalidRequest, NotFound


def write(path: Path, *texts: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def test_folders_patterns_and_names(tmp_path: Path) -> None:
    write(tmp_path / "d" / "b.jsonl", "b")
    write(tmp_path / "d" / "sub" / "a.jsonl", "a")
    write(tmp_path / "d" / ".hidden" / "x.jsonl", "x")
    (tmp_path / "d" / "notes.xyz").write_text("?")
    plan = make_plan([FileSource(path="d")], tmp_path, shard_bytes=1 << 20)
    assert [file.name for file in plan.sources[0].files] == ["b.jsonl", "sub/a.jsonl"]
    assert plan.sources[0].skipped_files == ("notes.xyz",)
    assert [row.id for row in planned_rows(plan)] == ["d/b.jsonl:1", "d/sub/a.jsonl:1"]
    plan = make_plan([FileSource(path="d/**/*.jsonl")], tmp_path, shard_bytes=1 << 20)
    assert len(plan.sources[0].files) == 2
    plan = make_plan([FileSource(path=("d/b.jsonl", "d/*.jsonl"))], tmp_path, shard_bytes=1 << 20)
    assert len(plan.sources[0].files) == 1, "a file that is named twice is read once"


def test_what_is_not_there(tmp_path: Path) -> None:
    for path in ("nothing.jsonl", "*.jsonl"):
        with pytest.raises(NotFound, match=r"there is no file"):
            make_plan([FileSource(path=path)], tmp_path, shard_bytes=1)
    (tmp_path / "a.xyz").write_text("?")
    with pytest.raises(InvalidRecipe, match="format of the file is not known"):
        make_plan([FileSource(path="a.xyz")], tmp_path, shard_bytes=1)
    (tmp_path / "b.jsonl").write_text('{"foo": 1, "bar": 2}\n')
    with pytest.raises(InvalidRecipe, match="what the columns mean is not clear: foo, bar"):
        make_plan([FileSource(path="b.jsonl")], tmp_path, shard_bytes=1)
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InvalidRequest, match="holds no record"):
        make_plan([FileSource(path="empty.jsonl")], tmp_path, shard_bytes=1)


def test_names_of_sources(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", "x")
    plan = make_plan([FileSource(path="a.jsonl"), FileSource(path="a.jsonl")], tmp_path, shard_bytes=1)
    assert [source.name for source in plan.sources] == ["a", "a-2"]
    assert len({row.id for row in planned_rows(plan)}) == 2
    with pytest.raises(InvalidRecipe, match="two sources are named 'a'"):
        make_plan([FileSource(path="a.jsonl"), FileSource(path="a.jsonl", name="a")], tmp_path, shard_bytes=1)


def test_aligned_files(tmp_path: Path) -> None:
    (tmp_path / "x.en").write_text("one\ntwo\n")
    (tmp_path / "x.de").write_text("eins\nzwei")
    source = AlignedSource(first="x.en", second="x.de", first_language="en", second_language="de")
    plan = make_plan([source], tmp_path, shard_bytes=1)
    samples = [row.sample for row in planned_rows(plan) if isinstance(row, Row)]
    assert samples == [Parallel("one", "eins", "en", "de"), Parallel("two", "zwei", "en", "de")]
    (tmp_path / "x.de").write_text("eins\n")
    with pytest.raises(InvalidRequest, match=r"x\.en has 2 lines and .*x\.de has 1"):
        make_plan([source], tmp_path, shard_bytes=1)


def test_metadata_and_unused_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label,date,url\nt,l,2026-01-01,u\n")
    plan = make_plan([FileSource(path="a.csv", metadata=("date",))], tmp_path, shard_bytes=1)
    (row,) = planned_rows(plan)
    assert isinstance(row, Row)
    assert (row.sample, row.metadata) == (Label("t", "l"), {"date": "2026-01-01"})
    assert plan.sources[0].unused_columns == ("url",)
    assert plan.sources[0].recognised == "classification"


def test_a_folder_of_the_hub_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package datasets reads a local folder as it would a data set of the hub."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    (folder / "test.jsonl").write_text('{"text": "c"}\n')
    plan = make_plan([HubSource(dataset="set", split="test")], tmp_path, shard_bytes=1)
    assert [row.sample for row in planned_rows(plan) if isinstance(row, Row)] == [Text("c")]
    assert plan.sources[0].reference == "hf:set/test"
    with pytest.raises(NotFound, match="there is no data set set"):
        make_plan([HubSource(dataset="set", split="dev")], tmp_path, shard_bytes=1)


def test_shards_do_not_depend_on_how_files_are_cut(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / f"{name}.jsonl", *(f"{name} {number}" for number in range(40)))
    sources = [FileSource(path="*.jsonl", name="s")]
    rows = {size: list(planned_rows(make_plan(sources, tmp_path, shard_bytes=size))) for size in (10, 300, 10**6)}
    assert rows[10] == rows[300] == rows[10**6]
    assert len(make_plan(sources, tmp_path, shard_bytes=300).shards) > 3
