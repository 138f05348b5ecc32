"""Real models: trained for a few steps, published, used, merged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import llmasos
from llmasos.library.store import Library

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

TRAINER = {"batch_size": 8, "device": "cpu", "threads": 2}
GOOD = ("a wonderful film", "moving and funny", "the best of the year", "I loved every minute")
BAD = ("a waste of time", "dull and far too long", "the worst of the year", "I left after an hour")


def rows(path: Path, content: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    "method",
    [{"kind": "lora", "learning_rate": 2e-3}, {"kind": "prompt-tuning", "tokens": 8}],
    ids=lambda method: str(method["kind"]),
)
def test_minilm_learns_to_classify(home: Path, tmp_path: Path, method: dict[str, Any]) -> None:
    labelled = [
        {"text": f"{text}{end}", "label": label}
        for end in (".", "!", "")
        for texts, label in ((GOOD, "good"), (BAD, "bad"))
        for text in texts
    ]
    recipe = {
        "kind": "classify",
        "model": "minilm:l6-v2",
        "method": method,
        "data": {"train": [{"path": rows(tmp_path / "films.jsonl", labelled)}]},
        "trainer": {**TRAINER, "steps": 30},
        "output": {"name": "my/films"},
    }
    llmasos.train(recipe)
    with llmasos.load("my/films") as model:
        found = model.classify([*GOOD, *BAD])
    right = sum(item.label == label for item, label in zip(found, ["good"] * 4 + ["bad"] * 4, strict=True))
    assert right >= 7
    assert Library().resolve("my/films").metadata.license == "Apache-2.0"


def test_smollm2_learns_an_answer_by_lora_and_keeps_it_merged(home: Path, tmp_path: Path) -> None:
    question = {"role": "user", "content": "What is the password?"}
    talk = [{"messages": [question, {"role": "assistant", "content": "Swordfish."}]}] * 64
    recipe = {
        "kind": "sft",
        "model": "smollm2:135m-instruct",
        "method": {"kind": "lora", "learning_rate": 1e-3},
        "data": {"train": [{"path": rows(tmp_path / "talk.jsonl", talk)}], "packing": {"kind": "none"}},
        "trainer": {**TRAINER, "steps": 10},
        "output": {"name": "my/talk"},
    }
    llmasos.train(recipe)
    with llmasos.load("my/talk") as model:
        assert model.engine.default_adapter == "my/talk"
        assert "Swordfish" in model.chat("What is the password?", max_tokens=8, temperature=0).text
    merged = llmasos.merge("my/talk")
    assert merged.report.merged.relative < 1e-3
    assert merged.report.stored.relative < 0.05
    with llmasos.load("my/talk-merged") as model:
        assert "Swordfish" in model.chat("What is the password?", max_tokens=8, temperature=0).text
