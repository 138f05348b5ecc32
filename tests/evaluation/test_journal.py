from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos.errors import IntegrityError
from llmasos.evaluation.journal import Journal
from llmasos.evaluation.parquet import read_records, write_records
from llmasos.evaluation.records import Record, Status, sample_id
from llmasos.progress import Event, reporting


def record(index: int, status: Status = Status.CORRECT, **values: object) -> Record:
    known: dict[str, Any] = {"output": "out", "parsed": None, "references": ("ref",), "target": None, **values}
    return Record("t", index, f"{index:016x}", "prompt", 3, status=status, **known)


def test_records_come_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run", "key", resume=False)
    written = [
        record(0), record(1, choice_logprobs=(-1.0, -2.5), choice_lengths=((1, 2, 3), (4, 5, 6)), parsed="日本"),
        record(2, passed=(True, False), outputs=("a", "b"), details={"n": [1, {"x": None}]}),
    ]  # fmt: skip
    for item in written:
        journal.append(item)
    journal.close()
    again = Journal(tmp_path / "run", "key", resume=True)
    assert again.finished() == {item.index: item for item in written}


def test_another_key_or_no_resume_begins_anew(tmp_path: Path) -> None:
    for key, resume, warnings in (("other", True, 1), ("key", False, 0)):
        journal = Journal(tmp_path / "run", "key", resume=False)
        journal.append(record(0))
        journal.close()
        events: list[Event] = []
        with reporting(events.append):
            assert Journal(tmp_path / "run", key, resume=resume).finished() == {}
        assert list((tmp_path / "run").glob("journal-*")) == []
        assert len(events) == warnings
        assert all("begins anew" in event.label for event in events)


def test_errors_are_run_again_and_the_later_record_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "key", resume=False)
    journal.append(record(0, Status.ERROR, error="no network"))
    journal.append(record(1))
    journal.close()
    journal = Journal(tmp_path, "key", resume=True)
    assert set(journal.finished()) == {1}
    journal.append(record(0, Status.WRONG))
    journal.close()
    assert Journal(tmp_path, "key", resume=True).finished()[0].status is Status.WRONG
    assert len(list(tmp_path.glob("journal-*"))) == 2, "a run writes files of its own"


@pytest.mark.parametrize(("cut", "kept"), [(1, {0, 1}), (2, {0}), (200, {0})])
def test_a_line_that_was_cut_off_is_run_again(tmp_path: Path, cut: int, kept: set[int]) -> None:
    journal = Journal(tmp_path, "key", resume=False)
    journal.append(record(0))
    journal.append(record(1))
    journal.close()
    (shard,) = tmp_path.glob("journal-*")
    shard.write_bytes(shard.read_bytes()[:-cut])
    assert set(Journal(tmp_path, "key", resume=True).finished()) == kept


def test_a_damaged_line_in_the_middle_is_said(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "key", resume=False)
    for index in range(3):
        journal.append(record(index))
    journal.close()
    (shard,) = tmp_path.glob("journal-*")
    lines = shard.read_bytes().split(b"\n")
    shard.write_bytes(b"\n".join([lines[0], b"{broken", *lines[2:]]))
    with pytest.raises(IntegrityError, match=r"journal-00000.jsonl:2 is damaged"):
        Journal(tmp_path, "key", resume=True).finished()


def test_a_long_run_has_several_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmasos.evaluation.journal._SHARD_RECORDS", 4)
    journal = Journal(tmp_path, "key", resume=False)
    for index in range(10):
        journal.append(record(index))
    journal.close()
    assert len(list(tmp_path.glob("journal-*"))) == 3
    assert set(Journal(tmp_path, "key", resume=True).finished()) == set(range(10))


def test_what_was_appended_survives_kill_9(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from llmasos.evaluation.journal import Journal\n"
        "from llmasos.evaluation.records import Record, Status\n"
        "journal = Journal(Path(sys.argv[1]), 'key', resume=False)\n"
        "for index in range(50):\n"
        "    journal.append(Record('t', index, str(index), 'p', 1, 'o', None, (), None, Status.WRONG))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert set(Journal(tmp_path, "key", resume=True).finished()) == set(range(50))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
floats = st.floats(allow_nan=False, allow_infinity=False)
records = st.builds(
    Record,
    task=texts, index=st.integers(0, 2**40), sample_id=texts, prompt=texts, prompt_tokens=st.integers(0, 2**31),
    output=texts, parsed=st.none() | texts, references=st.lists(texts, max_size=3).map(tuple),
    target=st.none() | st.integers(0, 99), status=st.sampled_from(Status), error=st.none() | texts,
    choice_logprobs=st.none() | st.lists(floats, max_size=3).map(tuple),
    choice_lengths=st.none() | st.lists(st.tuples(*[st.integers(0, 99)] * 3), max_size=3).map(tuple),
    loglikelihood=st.none() | floats, token_count=st.none() | st.integers(0, 99),
    outputs=st.lists(texts, max_size=3).map(tuple), passed=st.none() | st.lists(st.booleans(), max_size=3).map(tuple),
    details=st.dictionaries(texts, st.none() | st.booleans() | texts | st.lists(st.integers(0, 9), max_size=2)),
    latency_seconds=st.none() | floats,
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.lists(records, max_size=4))
def test_parquet_gives_back_what_was_written(tmp_path_factory: pytest.TempPathFactory, rows: list[Record]) -> None:
    path = tmp_path_factory.mktemp("parquet") / "samples.parquet"
    write_records(path, rows)
    assert read_records(path) == rows
    assert [Record.from_json(row.as_json()) for row in rows] == rows
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "samples.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(IntegrityError, match="is damaged"):
        read_records(path)


def test_the_id_of_a_sample_depends_on_its_values_alone() -> None:
    assert sample_id({"a": 1, "b": [1, "x"]}) == sample_id({"b": [1, "x"], "a": 1})
    assert sample_id({"a": 1}) != sample_id({"a": "1"})
    assert len(sample_id({})) == 16
