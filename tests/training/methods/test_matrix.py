"""The tables of methods are what the documentation shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmasos.i18n import set_language
from llmasos.training.methods.matrix import defaults_table, matrix_table, method_facts, sources_table

DOCS = Path(__file__).parents[3] / "docs"


def test_facts_come_from_applying_the_methods() -> None:
    facts = {item.method: item for item in method_facts()}
    assert set(facts) == {"full", "freeze", "lora", "qlora", "prompt-tuning", "prefix-tuning", "p-tuning", "ia3"}
    assert [name for name, item in facts.items() if len(item.families) < 3] == ["prefix-tuning"]
    assert [name for name, item in facts.items() if item.merges] == ["lora", "qlora", "ia3"]
    assert [name for name, item in facts.items() if not item.packs] == ["prompt-tuning", "prefix-tuning", "p-tuning"]
    assert [name for name, item in facts.items() if not item.checkpoints] == ["prefix-tuning"]


@pytest.mark.parametrize(("language", "page"), [("en", "training-methods.md"), ("zh", "zh/training-methods.md")])
def test_the_documentation_has_the_tables(language: str, page: str) -> None:
    set_language(language)
    text = (DOCS / page).read_text(encoding="utf-8")
    for table in (matrix_table(), defaults_table(), sources_table()):
        assert table in text
