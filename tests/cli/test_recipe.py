"""`llmasos recipe`: new ones are valid, tables are complete, a check tells everything."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny_models
from llmasos.cli.recipe import KINDS, TRAINING_KINDS
from llmasos.training.methods.defaults import METHODS
from llmasos.training.presets.table import PRESETS
from llmasos.training.recipe import kinds

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_recipe_is_valid(kind: str, language: str, llmasos: Run, tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    code, _, err = llmasos("--lang", language, "recipe", "new", kind, "--output", str(path))
    assert (code, err) == (0, "")
    code, out, _ = llmasos("--lang", "en", "recipe", "check", "--keys", str(path))
    assert (code, out) == (0, f"{path} is a valid recipe\n")


@pytest.mark.parametrize("kind", KINDS)
def test_both_languages_say_the_same(kind: str, llmasos: Run) -> None:
    import yaml

    texts = [llmasos("--lang", language, "recipe", "new", kind)[1] for language in ("en", "zh")]
    first, second = (yaml.safe_load(text) for text in texts)
    for values in (first, second):  # what stands in for texts of the user
        values.get("evaluation", {}).pop("prompts", None)
        values.pop("steps", None)
    assert first == second


def test_the_kinds_are_those_of_training() -> None:
    assert tuple(kinds.KINDS) == TRAINING_KINDS


@pytest.mark.parametrize("kind", TRAINING_KINDS)
def test_every_key_is_explained(kind: str, llmasos: Run) -> None:
    code, out, _ = llmasos("recipe", "show", kind, "--json")
    assert code == 0
    rows = json.loads(out)
    assert {row["key"].split(".")[0].split("[")[0] for row in rows} == set(kinds.KINDS[kind].model_fields)
    assert [row["key"] for row in rows if not row["description"]] == []
    code, out, _ = llmasos("recipe", "show", kind, "method", "--json")
    assert {row["key"].split(".")[0].split("[")[0] for row in json.loads(out)} == {"method"}


def test_presets_are_listed(llmasos: Run) -> None:
    code, out, _ = llmasos("recipe", "show", "presets", "--json")
    assert code == 0
    assert [row["preset"] for row in json.loads(out)] == list(PRESETS)
    code, out, _ = llmasos("recipe", "show", "presets", "llama-15m")
    assert code == 0
    assert "llama-15m" in out
    assert "8.3" in out  # million weights with 8,192 entries
    code, _, err = llmasos("recipe", "show", "presets", "llama-15")
    assert code == 2
    assert "llama-15m" in err


def test_methods_are_listed(llmasos: Run) -> None:
    code, out, _ = llmasos("recipe", "show", "methods", "--json")
    assert code == 0
    assert list(dict.fromkeys(row["method"] for row in json.loads(out))) == list(METHODS)
    code, out, _ = llmasos("recipe", "show", "methods", "lora")
    assert "0.0002" in out
    code, _, err = llmasos("recipe", "show", "methods", "lorra")
    assert code == 2
    assert "lora" in err


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    tiny_models.build("llama", tmp_path / "model")
    rows = [{"prompt": f"Say {number}", "completion": f"word {number}"} for number in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    path = tmp_path / "sft.yaml"
    path.write_text(
        "kind: sft\nmodel: ./model\ndata:\n  train: [{path: rows.jsonl}]\n  validation_share: 0.2\n"
        "trainer: {steps: 3, batch_size: 4, threads: 1, dtype: float32, device: cpu}\n",
        encoding="utf-8",
    )
    return path


def test_a_recipe_that_can_be_trained(llmasos: Run, recipe: Path, home: Path) -> None:
    code, out, _ = llmasos("recipe", "check", str(recipe))
    assert code == 0, out
    for part in ("training rows", "16 (all rendered)", "learning rate", "activations", "checkpoints", "tokens/s"):
        assert part in out
    assert f"{recipe} can be trained" in out
    code, out, _ = llmasos("recipe", "check", str(recipe), "--json")
    assert code == 0
    found: dict[str, Any] = json.loads(out)
    assert found["valid"] is True
    assert found["recipe"]["kind"] == "sft"
    assert found["report"]["memory"]["total"] == sum(found["report"]["memory"]["parts"].values())


def test_a_recipe_that_cannot(llmasos: Run, recipe: Path, home: Path) -> None:
    changes = ("--set", "data.train.0.path=other.jsonl", "--set", "evaluation.early_stopping={}", "--set",
               "data.validation_share=0")  # fmt: skip
    code, out, _ = llmasos("recipe", "check", str(recipe), *changes)
    assert code in (2, 3)
    assert "other.jsonl" in out
    assert "early_stopping" in out
    assert "2 problem(s) to solve first" in out
    code, out, _ = llmasos("recipe", "check", str(recipe), *changes, "--json")
    found = json.loads(out)
    assert found["valid"] is False
    assert len([item for item in found["report"]["findings"] if item["level"] == "error"]) == 2


def test_unknown_keys_are_told_with_their_lines(llmasos: Run, recipe: Path) -> None:
    recipe.write_text(recipe.read_text(encoding="utf-8") + "methd: {kind: full}\n", encoding="utf-8")
    code, _, err = llmasos("recipe", "check", str(recipe))
    assert code == 2
    assert "sft.yaml:7: methd: unknown key (did you mean method?)" in err
    assert "`llmasos recipe show sft` lists all keys." in err
