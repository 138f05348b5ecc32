"""A first look at data that nobody has described: files, records, what fits a layout and what does not."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from llmasos.data.look import count_records, fit, look_at, page
from llmasos.data.sources.config import FileSource
from llmasos.data.sources.layout import LabelLayout, PromptCompletionLayout
from llmasos.data.sources.record import Broken, Record
from llmasos.errors import NotFound

TABLE = "review,stars,verdict\nfine,5,good\nbroken\npoor,1,bad\n,2,bad\n"


def table(folder: Path, text: str = TABLE, name: str = "reviews.csv") -> FileSource:
    (folder / name).write_text(text, encoding="utf-8")
    return FileSource(path=str(folder / name))


def test_data_without_a_known_layout_can_be_looked_at(tmp_path: Path) -> None:
    look = look_at(table(tmp_path), tmp_path)
    assert (look.columns, look.recognised, look.layout) == (("review", "stars", "verdict"), None, None)
    assert look.size == len(TABLE)
    assert count_records(look) == 4


def test_a_layout_that_is_known_is_told(tmp_path: Path) -> None:
    look = look_at(table(tmp_path, "text,label\na,x\n"), tmp_path)
    assert look.recognised is not None and look.recognised.name == "classification"
    assert look.layout == LabelLayout()


def test_records_come_page_by_page_and_broken_ones_are_among_them(tmp_path: Path) -> None:
    look = look_at(table(tmp_path), tmp_path)
    first = page(look, 0, 2)
    assert [type(item) for item in first.items] == [Record, Broken] and first.more
    second = page(look, 2, 2)
    assert [item.line for item in second.items] == [4, 5] and not second.more
    assert page(look, 9, 2).items == ()


def test_what_does_not_fit_is_counted_with_its_reason(tmp_path: Path) -> None:
    found = fit(look_at(table(tmp_path), tmp_path), LabelLayout(text="review", label="verdict"), most=100, kept=1)
    assert (found.good, found.bad, found.reasons) == (3, 1, {"wrong_number_of_columns": 1})
    assert found.complete and found.unused == ("stars",)
    assert len(found.rows) == 1 and found.unreadable[0].origin.line == 3
    assert found.statistics["labels"] == {"bad": 2, "good": 1}


def test_a_limit_is_told(tmp_path: Path) -> None:
    look = look_at(table(tmp_path, "text,label\n" + "a,x\n" * 50), tmp_path)
    assert not fit(look, LabelLayout(), most=49, kept=5).complete
    assert fit(look, LabelLayout(), most=50, kept=5).complete


def test_missing_columns_are_a_reason(tmp_path: Path) -> None:
    found = fit(look_at(table(tmp_path), tmp_path), PromptCompletionLayout(), most=100, kept=5)
    assert found.good == 0 and found.reasons["missing_field"] == 3
    assert "nothing at 'prompt'" in found.unreadable[0].rejection.detail


def test_a_file_that_changes_is_looked_at_again(tmp_path: Path) -> None:
    source = table(tmp_path)
    assert look_at(source, tmp_path).plan is look_at(source, tmp_path).plan
    table(tmp_path, "text,label\na,x\n")
    assert look_at(source, tmp_path).columns == ("text", "label")
    (tmp_path / "reviews.csv").unlink()
    with pytest.raises(NotFound):
        look_at(source, tmp_path)


def test_folders_and_compressed_files(tmp_path: Path) -> None:
    for number in range(2):
        line = json.dumps({"text": f"document {number}"}).encode() + b"\n"
        (tmp_path / f"{number}.jsonl.gz").write_bytes(gzip.compress(line * 3))
    (tmp_path / "notes.xyz").write_text("?")
    look = look_at(FileSource(path=str(tmp_path)), tmp_path)
    assert (count_records(look), look.plan.skipped_files) == (6, ("notes.xyz",))
