"""Rows of training and validation: divided without leakage, limited by chance, always the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from llmasos.errors import InvalidRecipe, InvalidRequest
from llmasos.training.recipe.data import TrainingData
from llmasos.training.rows import DataRows, RowSet, read_rows


def write(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def labelled(count: int) -> list[dict[str, Any]]:
    return [{"text": f"text number {number}", "label": "ab"[number % 2]} for number in range(count)]


def read(data: dict[str, Any], seed: int = 1) -> DataRows:
    return read_rows(TrainingData.model_validate(data), seed=seed)


def texts(rows: RowSet | None) -> list[str]:
    assert rows is not None
    found = [row.text() for row in rows.rows()]
    assert len(found) == rows.count
    return found


def test_all_rows_are_for_training_by_default(tmp_path: Path) -> None:
    found = read({"train": [{"path": write(tmp_path / "a.jsonl", labelled(7))}]})
    assert texts(found.train) == texts(found.train) == [row["text"] for row in labelled(7)]
    assert found.validation is None
    assert found.kind == "label"


def test_a_share_is_kept_for_validation(tmp_path: Path) -> None:
    data = {"train": [{"path": write(tmp_path / "a.jsonl", labelled(100))}], "validation_share": 0.1}
    found = read(data)
    learned, held = texts(found.train), texts(found.validation)
    assert len(held) == 10
    assert sorted([*learned, *held]) == sorted(row["text"] for row in labelled(100))
    assert texts(read(data, seed=2).validation) == held
    numbers = [int(text.split()[-1]) for text in held]
    assert max(numbers) - min(numbers) > 30


def test_equal_inputs_stay_on_one_side(tmp_path: Path) -> None:
    rows = [{"text": f"Text  {number // 10}" if number % 2 else f"text {number // 10}", "label": "ab"[number % 2]}
            for number in range(100)]  # fmt: skip
    found = read({"train": [{"path": write(tmp_path / "a.jsonl", rows)}], "validation_share": 0.25})
    learned, held = ({" ".join(text.lower().split()) for text in texts(part)} for part in
                     (found.train, found.validation))  # fmt: skip
    assert held
    assert not learned & held


def test_training_rows_that_are_in_the_validation_sources_are_left_out(tmp_path: Path) -> None:
    found = read({
        "train": [{"path": write(tmp_path / "a.jsonl", labelled(20))}],
        "validation": [{"path": write(tmp_path / "b.jsonl", [{"text": "TEXT number 3", "label": "a"}])}],
    })  # fmt: skip
    assert "text number 3" not in texts(found.train)
    assert found.train.count == 19
    assert found.train.left_out == {"in_validation": 1}
    assert texts(found.validation) == ["TEXT number 3"]


def test_limits_choose_by_chance_and_keep_the_order(tmp_path: Path) -> None:
    data = {
        "train": [{"path": write(tmp_path / "a.jsonl", labelled(50))}],
        "validation_share": 0.2, "train_limit": 8, "validation_limit": 3,
    }  # fmt: skip
    found = read(data)
    learned = [int(text.split()[-1]) for text in texts(found.train)]
    assert len(learned) == 8
    assert learned == sorted(learned)
    assert learned != list(range(8))
    assert found.train.left_out == {"over_limit": 32}
    assert found.validation is not None
    assert found.validation.count == 3
    assert texts(read(data, seed=3).train) != texts(found.train)
    assert read(data, seed=3).train.digest != found.train.digest
    assert read(data).train.digest == found.train.digest


def test_the_digest_follows_the_bytes_and_not_the_place(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    first = read({"train": [{"path": write(tmp_path / "a.jsonl", labelled(5))}]}).train.digest
    moved = read({"train": [{"path": write(tmp_path / "x" / "a.jsonl", labelled(5))}]}).train.digest
    other = read({"train": [{"path": write(tmp_path / "a.jsonl", labelled(6))}]}).train.digest
    assert first == moved != other


def test_one_long_document_is_cut_at_its_end(tmp_path: Path) -> None:
    text = "".join(chr(97 + number % 26) for number in range(1000))
    (tmp_path / "a.txt").write_text(text)
    found = read({"train": [{"path": str(tmp_path / "a.txt")}], "validation_share": 0.1})
    assert texts(found.train) == [text[:900]]
    assert texts(found.validation) == [text[900:]]
    assert found.validation is not None
    assert found.train.digest != found.validation.digest
    with pytest.raises(InvalidRecipe, match="limited too"):
        read({"train": [{"path": str(tmp_path / "a.txt")}], "validation_share": 0.1, "train_limit": 3})


def test_records_that_are_no_rows_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, labelled(4))
    path.write_text(path.read_text() + '{"text": "no label"}\n{broken\n')
    found = read({"train": [{"path": str(path), "layout": {"kind": "label"}}]})
    assert found.train.count == 4
    assert sum(found.train.unreadable.values()) == 2
    assert found.train.unreadable["missing_field"] == 1


def test_an_unknown_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"sentence": "x", "label": "a"}])
    with pytest.raises(InvalidRequest, match="nothing at 'sentense'") as caught:
        read({"train": [{"path": path, "layout": {"kind": "label", "text": "sentense", "label": "label"}}]})
    assert caught.value.hint is not None
    assert "sentence" in caught.value.hint


def test_kinds_are_not_mixed_and_splits_are_not_sources(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", labelled(3))
    second = write(tmp_path / "b.jsonl", [{"text": "only a text"}])
    with pytest.raises(InvalidRecipe, match="different kinds of samples: label, text"):
        read({"train": [{"path": first}, {"path": second}]})
    with pytest.raises(InvalidRecipe, match="into = 'validation'"):
        read({"train": [{"path": first, "into": "validation"}]})


def test_a_set_without_rows_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", labelled(3))
    with pytest.raises(InvalidRequest, match="no row is left for training"):
        read({"train": [{"path": path}], "validation": [{"path": path}]})
