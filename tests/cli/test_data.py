from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    records = [
        {"instruction": f"Question {number}?", "output": f"Answer {number}." if number else ""} for number in range(6)
    ]
    lines = [json.dumps(record) for record in records] + ["{broken"]
    (tmp_path / "raw.jsonl").write_text("\n".join(lines))
    path = tmp_path / "recipe.yaml"
    path.write_text("kind: data\nname: me/raw\nsources: [{path: raw.jsonl}]\nexecution: {workers: 1}\n")
    return path


def test_prepare_list_report_preview(llmasos: Run, recipe: Path, home: Path) -> None:
    code, out, err = llmasos("data", "prepare", "recipe.yaml")
    assert code == 0, err
    assert "raw: recognised as alpaca" in err
    lines = [line.split() for line in out.splitlines()]
    assert ["read", "7", "6", "-", "broken", "JSON", "1"] in lines
    assert ["complete", "6", "5", "-", "empty", "completion", "1"] in lines
    assert "7 rows read = 5 kept + 2 rejected" in out
    report = Path(out.splitlines()[-1].removeprefix("Report: "))
    assert report.is_file()
    assert report.is_relative_to(home / "reports")

    code, out, _ = llmasos("data", "list", "--json")
    (found,) = json.loads(out)
    assert (found["name"], found["rows"], found["splits"]) == ("me/raw:latest", 5, {"train": 5})
    code, out, _ = llmasos("data", "list")
    assert "me/raw:latest" in out

    code, out, _ = llmasos("data", "report", "me/raw", "--output", "r.json")
    assert code == 0
    assert json.loads(Path("r.json").read_text())["totals"] == {"read": 7, "added": 0, "rejected": 2, "kept": 5}

    code, out, _ = llmasos("data", "preview", "me/raw", "--row", "2")
    assert code == 0
    assert "Question 2?" in out
    code, out, err = llmasos("data", "preview", "me/raw", "--row", "9")
    assert code == 3
    assert "me/raw has 5 rows" in err


def test_prepare_as_json_with_changes_and_export(llmasos: Run, recipe: Path) -> None:
    code, out, _ = llmasos(
        "data", "prepare", "recipe.yaml", "--json", "--name", "me/other:1", "--set", "split.parts.test=0.4",
        "--report", "out.html", "--export", "exported",
    )  # fmt: skip
    assert code == 0
    result = json.loads(out)
    assert result["name"] == "me/other:1"
    assert result["splits"] == {"train": 3, "test": 2}
    assert result["report"] == "out.html"
    assert [step["name"] for step in result["steps"]] == ["read", "complete", "split_and_mix"]
    assert sorted(path.name for path in Path("exported/data").iterdir()) == [
        "test-00000.parquet",
        "train-00000.parquet",
    ]


def test_the_report_is_one_file_that_needs_no_network(llmasos: Run, recipe: Path) -> None:
    for language, words in (("en", "What happened to the rows"), ("zh", "每一步对行做了什么")):
        code, _, _ = llmasos("--lang", language, "data", "prepare", "recipe.yaml", "--report", f"{language}.html")
        assert code == 0
        page = Path(f"{language}.html").read_text(encoding="utf-8")
        assert words in page
        assert f'<html lang="{language}">' in page
        assert "http" not in page
        assert "<script" not in page
        assert "{broken" in page


def test_a_recipe_with_problems(llmasos: Run, recipe: Path) -> None:
    recipe.write_text("kind: data\nsources: [{path: raw.jsonl, formt: csv}]\nstep: []\n")
    code, _, err = llmasos("data", "prepare", "recipe.yaml")
    assert code == 2
    assert "recipe.yaml:2: sources.0.files.formt: unknown key (did you mean format?)" in err
    assert "recipe.yaml:3: step: unknown key (did you mean steps?)" in err


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_new_recipe_is_valid(language: str, llmasos: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = llmasos("--lang", language, "recipe", "new", "data", "--output", "new.yaml")
    assert code == 0, err
    code, out, _ = llmasos("--lang", "en", "recipe", "check", "new.yaml")
    assert (code, out) == (0, "new.yaml is a valid recipe\n")
    code, _, err = llmasos("--lang", "en", "recipe", "new", "data", "--output", "new.yaml")
    assert code == 2
    assert "exists" in err


def test_keys_are_explained(llmasos: Run) -> None:
    code, out, _ = llmasos("recipe", "show", "data", "split", "--json")
    assert code == 0
    keys = {item["key"]: item for item in json.loads(out)}
    assert "split[method=random].parts" in keys
    assert all(item["description"] for item in keys.values())
    code, _, err = llmasos("recipe", "show", "dat")
    assert code == 2
    assert "did you mean data?" in err


@pytest.mark.parametrize(
    ("words", "message"), [(("data", "prepar"), "did you mean prepare"), (("data", "report", "no/thing"), "no/thing")]
)
def test_what_is_not_there(words: tuple[str, ...], message: str, llmasos: Run) -> None:
    code, _, err = llmasos(*words)
    assert code in (2, 3)
    assert message in err


def test_help_of_the_group(llmasos: Run) -> None:
    code, out, _ = llmasos("data", "--help")
    assert code == 0
    for command in ("prepare", "preview", "report", "list"):
        assert command in out
    code, out, _ = llmasos("--lang", "zh", "data", "prepare", "--help")
    assert "按配方读取" in out


def test_models_are_no_data_sets(llmasos: Run, home: Path) -> None:
    def publish(library: Any) -> None:
        from llmasos.library.metadata import Metadata
        from llmasos.library.reference import Reference

        with library.draft() as draft:
            draft.add_bytes("config.json", b"{}")
            draft.publish(Reference.parse("a/model"), Metadata())

    from llmasos.library.store import Library

    publish(Library())
    code, _, err = llmasos("data", "preview", "a/model")
    assert code == 2
    assert "a/model is a model, not a data set" in err
    code, out, _ = llmasos("data", "list")
    assert "There is no data set" in out
