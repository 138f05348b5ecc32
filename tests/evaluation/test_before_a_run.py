"""What can be known before a run: data that is missing, and tasks that a model cannot do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluation_cases import choice_task
from llmasos.errors import Unsupported
from llmasos.evaluation.backends.open import abilities_of
from llmasos.evaluation.data.fetch import name_of
from llmasos.evaluation.options import RunOptions
from llmasos.evaluation.prepare import check_abilities, missing_data
from llmasos.evaluation.tasks.find import find
from llmasos.modeling.folder import Family


@pytest.fixture(autouse=True)
def no_hub_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has fetched before is not there."""
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *arguments, **options: None)


def names(task: str, options: RunOptions) -> list[str]:
    return [name_of(file).rpartition("/")[2] for file in missing_data(find(task), options)]


def test_missing_files_are_named() -> None:
    assert names("gsm8k", RunOptions()) == ["test.jsonl", "train.jsonl"]
    assert names("gsm8k", RunOptions(few_shot=0)) == ["test.jsonl"], "no examples, no file of examples"
    assert names("arc-easy", RunOptions()) == ["test-00000-of-00001.parquet"]
    assert names("gsm8k", RunOptions(sample=True)) == []


def test_what_is_in_the_given_folder_is_not_missing(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "gsm8k").mkdir(parents=True)
    (folder / "gsm8k-train.jsonl").write_text("{}")
    assert names("gsm8k", RunOptions(data=folder)) == ["test.jsonl"]
    (folder / "gsm8k" / "test.jsonl").write_text(json.dumps({"question": "?", "answer": "#### 1"}))
    assert names("gsm8k", RunOptions(data=folder)) == []


def test_files_beside_an_own_task_are_here(tmp_path: Path) -> None:
    found = choice_task(tmp_path, few_shot={"count": 2})
    assert missing_data(found, RunOptions()) == []
    (tmp_path / "examples.jsonl").unlink()
    assert [name_of(file) for file in missing_data(found, RunOptions())] == ["examples.jsonl"]


@pytest.mark.parametrize(("family", "can", "cannot"), [
    (Family.CAUSAL, ["arc-easy", "gsm8k", "sst2", "wikitext-2"], []),
    (Family.SEQ2SEQ, ["wmt14-en-de", "gsm8k"], ["arc-easy", "wikitext-2"]),
    (Family.CLASSIFIER, ["sst2"], ["gsm8k", "arc-easy"]),
    (Family.ENCODER, [], ["sst2", "gsm8k"]),
])  # fmt: skip
def test_what_a_family_can_do(family: Family, can: list[str], cannot: list[str]) -> None:
    for task in can:
        check_abilities(find(task).task, "model", abilities_of(family))
    for task in cannot:
        with pytest.raises(Unsupported, match=f"model cannot do the task {task}"):
            check_abilities(find(task).task, "model", abilities_of(family))
