"""The examples as files: recipes are valid, pages show what was measured, measures count rightly."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from llmasos.training.launch import read_recipe

FOLDER = Path(__file__).parents[2] / "examples"
RECIPES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_valid(path: Path) -> None:
    recipe = read_recipe(path, ["variables.data=/data"])
    assert recipe.name == path.stem
    assert recipe.output.name == f"examples/{path.stem}"
    text = path.read_text(encoding="utf-8")
    assert f"# python examples/run.py {path.stem} --data" in text
    assert str(recipe.data.train[0]).count("/data/") >= 1


def test_every_recipe_is_measured(measures: ModuleType) -> None:
    assert set(measures.EXAMPLES) == {path.stem for path in RECIPES}


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_pages_show_the_results(page: str, table: ModuleType) -> None:
    results = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    text = (FOLDER / page).read_text(encoding="utf-8")
    assert table.with_table(text, results, page) == text, "run `python examples/run.py --table`"


def test_a_result_becomes_a_row(table: ModuleType) -> None:
    result = {
        "model": "minilm:l6-v2", "method": "full", "measure": "accuracy", "before": None, "after": 0.9128,
        "loss_before": 0.7, "loss_after": 0.2345, "total_seconds": 300.0, "tokens_per_second": 2345.6,
        "memory_bytes": 3 * 2**29, "machine": "A processor", "changes": [],
    }  # fmt: skip
    lines = table.rows({"sst2-full": result}, "README.md")
    row = next(line for line in lines if "sst2-full" in line)
    for text in ("[sst2-full](sst2-full.yaml)", "– ", "**91.3%**", "0.700 → 0.234", "5.0 min", "2,346", "1.5 GiB"):
        assert text in row
    assert lines[-1] == "A processor"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("She has 4 + 5 = <<4+5=9>>9 apples.\n#### 9", "9"),
        ("#### 1,234", "1234"),
        ("The answer is 12.50 dollars, not 3", "3"),
        ("no number", ""),
        ("it costs 18.00\n#### 18.00", "18"),
        ("about -7 degrees", "-7"),
    ],
)
def test_the_result_of_a_problem(text: str, number: str, measures: ModuleType) -> None:
    assert measures.last_number(text) == number


class _Said:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class _Model:
    """Answers as it is told."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def classify(self, texts: list[str], **_: Any) -> list[_Said]:
        return [_Said(label=self.answer(text)) for text in texts]

    def chat(self, conversations: list[list[dict[str, str]]], **_: Any) -> list[_Said]:
        return [_Said(text=self.answer(conversation[-1]["content"])) for conversation in conversations]

    def generate(self, texts: list[str], **_: Any) -> list[_Said]:
        return [_Said(text=self.answer(text)) for text in texts]


DATA = Path(__file__).parent / "data"


def test_measures_count_right_answers(measures: ModuleType) -> None:
    truth = {row["sentence"]: measures.SENTIMENT[int(row["label"])] for row in measures.rows(DATA / "sst2/test.tsv")}
    assert measures.sst2_classes(_Model(truth.__getitem__), DATA) == 1.0
    always = measures.sst2_classes(_Model(lambda text: "positive"), DATA)
    assert always == pytest.approx(sum(label == "positive" for label in truth.values()) / len(truth), abs=0.02)
    assert 0.3 < always < 0.7
    told = _Model(lambda prompt: " " + truth[prompt.split("\n\n")[-1]].capitalize())
    assert measures.sst2_answers(told, DATA) == 1.0
    assert measures.tnews_classes(_Model(lambda text: "news_car"), DATA) < 0.7

    def add(question: str) -> str:
        first, second = (int(word) for word in question.split() if word.isdigit())
        return f"That makes {first + second}."

    assert measures.gsm8k(_Model(add), DATA) == 1.0
    german = dict(
        zip(measures.lines(DATA / "multi30k/test_2016_flickr.en.gz"),
            measures.lines(DATA / "multi30k/test_2016_flickr.de.gz"), strict=True)
    )  # fmt: skip
    assert measures.multi30k(_Model(german.__getitem__), DATA) == pytest.approx(100.0)
    assert measures.multi30k(_Model(lambda text: text), DATA) < 20
