"""The check before training: all problems at once, and what the run will need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tiny_models
from llmasos.library.store import Library
from llmasos.training.launch import read_recipe
from llmasos.training.preflight import check as checking
from llmasos.training.preflight import data as data_checks
from llmasos.training.preflight.check import check
from llmasos.training.preflight.report import Report

QUICK = {"steps": 4, "batch_size": 4, "threads": 1, "dtype": "float32", "device": "cpu"}


@pytest.fixture
def library(home: Path) -> Library:
    return Library()


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def answers(count: int = 24) -> list[dict[str, Any]]:
    return [{"prompt": f"Say {number}", "completion": f"word {number} " * (number % 5 + 1)} for number in range(count)]


def films(count: int = 24) -> list[dict[str, Any]]:
    return [{"text": f"film {number}", "label": "good" if number % 2 else "bad"} for number in range(count)]


def checked(library: Library, *, full: bool = False, **values: Any) -> Report:
    values.setdefault("trainer", QUICK)
    return check(read_recipe(values), library=library, full=full)


def sft(folder: Path, **changes: Any) -> dict[str, Any]:
    if not (folder / "llama").exists():
        tiny_models.build("llama", folder / "llama")
    values: dict[str, Any] = {
        "kind": "sft",
        "model": str(folder / "llama"),
        "data": {"train": [{"path": write(folder, "answers.jsonl", answers())}], "validation_share": 0.25},
    }
    return {**values, **changes}


CASES: dict[str, tuple[str, Any]] = {
    "pretrain": ("llama", [{"text": f"the quick brown fox {number}"} for number in range(24)]),
    "sft": ("llama", answers()),
    "classify": ("sentence_transformer", films()),
    "seq2seq": ("t5", [{"source": f"the house {number}", "target": f"la maison {number}"} for number in range(24)]),
    "reward": ("llama", [{"prompt": f"say {n}", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(24)]),
}


@pytest.mark.parametrize("kind", CASES)
def test_every_kind_can_be_checked(kind: str, library: Library, tmp_path: Path) -> None:
    name, rows = CASES[kind]
    tiny_models.build(name, tmp_path / name)
    source = {"path": write(tmp_path, "rows.jsonl", rows)}
    report = checked(library, kind=kind, model=str(tmp_path / name), data={"train": [source], "validation_share": 0.25})
    assert report.errors == []
    assert report.valid
    data, model, memory, disk, time = report.data, report.model, report.memory, report.disk, report.time
    assert data is not None
    assert (data.rows, data.validation_rows, data.looked_at, data.complete) == (18, 6, 18, True)
    assert data.tokens > 0
    assert model is not None
    assert 0 < model.trainable <= model.parameters
    assert memory is not None
    assert memory.total == sum(memory.parts.values())
    assert memory.parts["weights"] >= 4 * (model.parameters - model.trainable)
    assert disk is not None
    assert disk.checkpoint > 0
    assert time is not None
    assert time.steps == 4
    assert time.seconds is not None
    assert time.seconds > 0
    assert not time.measured


def test_a_preset_is_checked_with_its_new_tokenizer(library: Library, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox\n" * 200, encoding="utf-8")
    report = checked(
        library,
        kind="pretrain",
        model={"preset": "llama-1m", "context_length": 32, "layers": 2, "tokenizer": {"kind": "characters"}},
        data={"train": [{"path": str(path)}], "validation_share": 0.1},
    )
    assert report.valid
    assert any("new tokenizer (characters)" in finding.message for finding in report.findings)
    assert report.data is not None
    assert report.data.max_length == 32
    assert not any(finding.level == "warning" for finding in report.findings)  # documents are divided: nothing is lost


def test_problems_of_all_parts_come_together(library: Library, tmp_path: Path) -> None:
    report = checked(
        library,
        **sft(
            tmp_path,
            method={"kind": "lora", "learning_rate": 1e-7},
            data={
                "train": [{"path": str(tmp_path / "missing.jsonl")}, {"path": write(tmp_path, "films.jsonl", films())}],
                "validation": [{"path": str(tmp_path / "nothing-*.csv")}],
            },
            evaluation={"tasks": [{"task": "missing.yaml"}]},
        ),
    )
    messages = [finding.message for finding in report.errors]
    assert sum("missing.jsonl" in message for message in messages) == 1
    assert sum("nothing-*.csv" in message for message in messages) == 1
    assert any("rows of kind label are rendered as class" in message for message in messages)
    assert any("missing.yaml" in message for message in messages)
    assert any("learning_rate = 1e-07" in finding.message for finding in report.findings if finding.level == "warning")
    assert not report.valid


def test_a_column_that_is_not_there(library: Library, tmp_path: Path) -> None:
    layout = {"kind": "prompt_completion", "prompt": "promt", "completion": "completion"}
    source = {"path": write(tmp_path, "answers.jsonl", answers()), "layout": layout}
    report = checked(library, **sft(tmp_path, data={"train": [source]}))
    (error,) = report.errors
    assert "promt" in error.message
    assert "prompt" in (error.hint or "")


def test_labels_are_compared(library: Library, tmp_path: Path) -> None:
    tiny_models.build("sentence_transformer", tmp_path / "model")
    train = write(tmp_path, "train.jsonl", films())
    held = write(tmp_path, "held.jsonl", [*films(4), {"text": "so so", "label": "mixed"}])
    report = checked(
        library,
        kind="classify",
        model=str(tmp_path / "model"),
        labels=["good", "bad", "ugly"],
        data={"train": [{"path": train}], "validation": [{"path": held}]},
    )
    messages = [finding.message for finding in report.errors]
    assert any("no training row has the label 'ugly'" in message for message in messages)
    assert any("1 row(s) have the label 'mixed'" in message for message in messages)


def test_rare_classes_are_warned_of(library: Library, tmp_path: Path) -> None:
    tiny_models.build("sentence_transformer", tmp_path / "model")
    rows = [{"text": f"film {number}", "label": "rare" if number == 7 else "usual"} for number in range(50)]
    values = {
        "kind": "classify",
        "model": str(tmp_path / "model"),
        "data": {"train": [{"path": write(tmp_path, "train.jsonl", rows)}]},
    }
    warnings = [finding.message for finding in checked(library, **values).findings if finding.level == "warning"]
    assert any("'rare' has 1" in message for message in warnings)
    balanced = checked(library, **values, class_weights="balanced")
    assert not any("'rare' has 1" in finding.message for finding in balanced.findings)


def test_rows_that_are_too_long(library: Library, tmp_path: Path) -> None:
    recipe = sft(tmp_path)
    recipe["data"]["rendering"] = {"max_length": 40}
    report = checked(library, **recipe)
    assert report.data is not None
    assert 0 < report.data.overlong < report.data.looked_at
    assert any("of the rows are longer than 40 tokens: they are left out" in f.message for f in report.findings)
    recipe["data"]["rendering"]["overlong"] = {"kind": "error"}
    assert any(error.code == "context_length_exceeded" for error in checked(library, **recipe).errors)
    recipe["data"]["rendering"] = {"max_length": 4}
    assert any("no sample is left" in error.message for error in checked(library, **recipe).errors)


def test_a_template_that_allows_no_mask(library: Library, tmp_path: Path) -> None:
    recipe = sft(tmp_path)
    template = "{% for message in messages | reverse %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    (tmp_path / "llama" / "chat_template.jinja").write_text(template, encoding="utf-8")
    report = checked(library, **recipe)
    assert [error.about for error in report.errors] == ["tokens"]
    assert report.model is not None  # what does not depend on it was checked all the same
    assert report.disk is not None


def test_nothing_to_learn(library: Library, tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": f"only a question {number}"}]} for number in range(20)]
    source = {"path": write(tmp_path, "questions.jsonl", rows)}
    report = checked(library, **sft(tmp_path, data={"train": [source]}))
    assert not report.valid


def test_a_method_that_does_not_fit_the_model(library: Library, tmp_path: Path) -> None:
    report = checked(library, **sft(tmp_path, method={"kind": "lora", "targets": ["q_prj"]}))
    (error,) = report.errors
    assert error.about == "method"
    assert "q_proj" in (error.hint or "")
    assert report.data is not None


def test_a_model_of_the_wrong_kind(library: Library, tmp_path: Path) -> None:
    tiny_models.build("t5", tmp_path / "t5")
    report = checked(library, **sft(tmp_path, model=str(tmp_path / "t5")))
    assert [error.about for error in report.errors] == ["model"]


def test_a_model_that_is_not_here_is_not_fetched(library: Library, tmp_path: Path) -> None:
    report = checked(library, **sft(tmp_path, model="smollm2:135m-instruct"))
    assert report.valid
    (warning,) = [finding for finding in report.findings if finding.level == "warning"]
    assert "smollm2:135m-instruct is not in the library" in warning.message
    assert report.model is None


def test_too_little_memory(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmasos.training.preflight.memory.available_memory", lambda device: 1000)
    report = checked(library, **sft(tmp_path, method={"kind": "full"}))
    (error,) = report.errors
    assert error.code == "out_of_memory"
    assert report.memory is not None
    assert report.memory.available == 1000


def test_too_little_disk(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmasos.training.preflight.effort.free_bytes", lambda folder: 1000)
    (error,) = checked(library, **sft(tmp_path)).errors
    assert error.code == "out_of_disk"
    assert "checkpoints.keep_last" in (error.hint or "")


def test_large_files_are_looked_at_from_the_start(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_checks, "LARGE", 10)
    monkeypatch.setattr(data_checks, "FIRST_ROWS", 8)
    report = checked(library, **sft(tmp_path))
    assert report.valid
    assert any("only the first 8 rows" in finding.message for finding in report.findings)
    assert report.data is not None
    assert (report.data.rows, report.data.sequences, report.data.complete) == (None, None, False)
    assert report.time is not None
    assert report.time.steps == 4
    unknown = checked(library, **sft(tmp_path, trainer={**QUICK, "steps": None, "epochs": 1}))
    assert unknown.time is not None
    assert (unknown.time.steps, unknown.time.seconds) == (None, None)


def test_a_sample_stands_for_all_rows(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "sample_of", lambda rows, seed: data_checks.sample_of(rows, seed=seed, size=40))
    source = {"path": write(tmp_path, "many.jsonl", answers(400))}
    recipe = sft(tmp_path, data={"train": [source], "packing": {"kind": "none"}})
    recipe["trainer"] = {**QUICK, "steps": None, "epochs": 2}
    report = checked(library, **recipe)
    assert report.data is not None
    assert (report.data.rows, report.data.looked_at, report.data.complete) == (400, 40, False)
    assert report.data.sequences == 400
    assert report.time is not None
    assert report.time.steps == 200


def test_measuring_does_real_steps(library: Library, tmp_path: Path) -> None:
    report = checked(library, full=True, **sft(tmp_path))
    assert report.valid
    assert report.time is not None
    assert report.time.measured
    assert report.time.measured_memory is not None
    assert report.time.measured_memory > 2**20
    assert report.data is not None
    assert report.data.complete


def test_early_stopping_needs_a_measure(library: Library, tmp_path: Path) -> None:
    recipe = sft(tmp_path, evaluation={"early_stopping": {"patience": 2}, "samples": 1})
    recipe["data"].pop("validation_share")
    messages = [error.message for error in checked(library, **recipe).errors]
    assert len(messages) == 2
    assert any("early_stopping" in message for message in messages)
    assert any("evaluation.samples = 1" in message for message in messages)
