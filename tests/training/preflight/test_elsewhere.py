"""Checks in a process of their own."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from llmasos.errors import LLMasOSError
from llmasos.library.store import Library
from llmasos.training.launch import read_recipe
from llmasos.training.preflight import elsewhere
from llmasos.training.preflight.elsewhere import check_elsewhere
from llmasos.training.preflight.report import Report
from llmasos.training.preflight.text import sections
from tiny_models import build
from tiny_runs import write_texts

pytestmark = pytest.mark.timeout(300)


def recipe(tmp_path: Path, **changes: Any) -> Any:
    values = {
        "kind": "pretrain", "model": str(tmp_path / "model"), "data": {"train": [{"path": str(tmp_path / "a.jsonl")}]},
        "trainer": {"steps": 2, "batch_size": 4}, **changes,
    }  # fmt: skip
    return read_recipe(values)


async def gathered(recipes: list[Any], library: Library) -> list[Report]:
    async with aclosing(check_elsewhere(recipes, library)) as reports:
        return [report async for report in reports]


def test_every_recipe_has_its_report(tmp_path: Path) -> None:
    build("llama", tmp_path / "model")
    write_texts(tmp_path / "a.jsonl")
    recipes = [recipe(tmp_path), recipe(tmp_path, method={"kind": "lora"}),
               recipe(tmp_path, data={"train": [{"path": str(tmp_path / "none.jsonl")}]})]  # fmt: skip
    full, lora, broken = asyncio.run(gathered(recipes, Library(tmp_path / "home")))
    assert full.valid and full.memory is not None and full.time is not None
    assert lora.model is not None and full.model is not None and lora.model.trainable < full.model.trainable
    assert not broken.valid and "none.jsonl" in broken.errors[0].message
    assert [title for title, _ in sections(full)] == ["Data", "Model", "Memory at the highest point", "Disk", "Time"]
    assert sections(broken) == []


def test_a_process_that_dies_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build("llama", tmp_path / "model")
    write_texts(tmp_path / "a.jsonl")
    monkeypatch.setattr(elsewhere, "as_yaml", lambda _: "kind: nothing")
    with pytest.raises(LLMasOSError, match="ended because of a defect: KeyError"):
        asyncio.run(gathered([recipe(tmp_path)], Library(tmp_path / "home")))
