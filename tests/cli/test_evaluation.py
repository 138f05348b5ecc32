from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

import tiny_models
from evaluation_cases import choice_task, generation_task, perplexity_task
from llmasos.library.metadata import Metadata
from llmasos.library.reference import Reference
from llmasos.library.store import Library

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_models.build("llama", tmp_path_factory.mktemp("eval") / "llama"))


@pytest.fixture
def task(tmp_path: Path) -> str:
    choice_task(tmp_path)
    return str(tmp_path / "choice.yaml")


def test_scores_for_people(llmasos: Run, llama: str, task: str, tmp_path: Path) -> None:
    perplexity_task(tmp_path)
    tasks = f"{task},{tmp_path / 'perplexity.yaml'}"
    code, text, error = llmasos("eval", llama, "--task", tasks, "--limit", "5", "--output", str(tmp_path / "out"))
    assert code == 0, error
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["Task", "Metric", "Score", "Interval", "Samples"]
    assert ["choice", "accuracy"] in [line[:2] for line in lines]
    assert ["perplexity", "byte_perplexity"] in [line[:2] for line in lines]
    assert "perplexity: scored 5" in text
    assert "choice: 5 of 12 samples, spread evenly" in error
    assert f"samples in {tmp_path / 'out' / 'choice'}" in error


def test_json(llmasos: Run, llama: str, task: str) -> None:
    code, document, _ = llmasos("eval", llama, "-t", task, "-n", "4", "-k", "1", "--seed", "3", "--json")
    assert code == 0
    (result,) = json.loads(document)
    assert result["task"] == "choice"
    assert result["settings"]["few_shot"] == 1
    assert result["settings"]["seed"] == 3
    assert 0 <= result["scores"]["accuracy"]["low"] <= result["scores"]["accuracy"]["high"] <= 1
    assert Path(result["folder"], "samples.parquet").is_file()


def test_garbage_is_said(llmasos: Run, llama: str, tmp_path: Path) -> None:
    generation_task(tmp_path, extraction={"kind": "regex", "pattern": "#### (.*)"})
    code, text, error = llmasos("eval", llama, "-t", str(tmp_path / "generation.yaml"))
    assert code == 0
    counts = next(line for line in text.splitlines() if line.startswith("generation: "))
    assert "correct" not in counts and "wrong" not in counts
    assert "generation: 100% " in error


def test_prompts_are_shown_and_nothing_is_run(llmasos: Run, llama: str, task: str, home: Path) -> None:
    code, text, _ = llmasos("eval", llama, "--task", task, "--show-prompts", "2", "--chat", "on")
    assert code == 0
    assert "--- choice, prompt 2 ---\n<|im_start|>user\nQ: What is 1 plus 1?\nA:<|im_end|>\n" in text
    assert not (home / "evaluations").exists()
    code, document, _ = llmasos("eval", llama, "--task", task, "--show-prompts", "1", "--json")
    assert json.loads(document) == {"choice": ["Q: What is 0 plus 0?\nA:"]}


def test_reports_and_a_bound_that_is_not_kept(llmasos: Run, llama: str, task: str, tmp_path: Path) -> None:
    reports = [tmp_path / f"report{suffix}" for suffix in (".html", ".md", ".csv", ".json")]
    given = [word for path in reports for word in ("--report", str(path))]
    junit = tmp_path / "deep" / "junit.xml"
    arguments = ("eval", llama, "--task", task, *given, "--junit", str(junit), "--fail-under", "accuracy=1.1")
    code, text, error = llmasos(*arguments)
    assert code == 9
    assert "accuracy" in text, "scores are shown all the same"
    assert "must be at least 1.1" in error
    assert all(path.stat().st_size > 100 for path in reports)
    assert len(ElementTree.parse(junit).findall(".//failure")) == 1
    assert llmasos(*arguments[:-1], "choice:accuracy=0")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "a model and a task are needed"),
        (("MODEL",), "a model and a task are needed"),
        (("MODEL", "--task", "arc-chalenge"), "did you mean arc-challenge"),
        (("MODEL", "--task", "TASK", "--set", "few_shot.cuont=1"), "did you mean count?"),
        (("MODEL", "--task", "TASK", "--chat", "maybe"), "auto, on, off"),
        (("MODEL", "--task", "TASK", "--limit", "0"), "limit = 0"),
        (("MODEL", "--task", "TASK", "--few-shot", "99"), "99 solved examples were asked for"),
        (("MODEL", "--task", "TASK", "--data", "nowhere"), "there is no folder nowhere"),
        (("MODEL", "--task", "TASK", "--sample"), "has no sample"),
        (("MODEL", "--task", "TASK", "--report", "x.pdf"), "a report ends in"),
        (("MODEL", "--task", "TASK", "--fail-under", "accuracy"), "no bound of a score"),
        (("MODEL", "--task", "TASK", "--fail-under", "acuracy=0.5"), "did you mean accuracy"),
        (("MODEL", "--task", "TASK", "--api-key-variable", "NO_SUCH_VARIABLE"), "is not set"),
        (("m", "--task", "TASK", "--endpoint", "http://127.0.0.1:9/v1"), None),
    ],
)
def test_what_a_person_can_get_wrong(
    llmasos: Run, llama: str, task: str, arguments: tuple[str, ...], message: str | None,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("llmasos.evaluation.backends.endpoint._LONGEST_PAUSE", 0.01)
    known = {"MODEL": llama, "TASK": task}
    code, _, error = llmasos("eval", *(known.get(word, word) for word in arguments))
    assert code != 0
    assert error.startswith("error: ") or "\nerror: " in error
    assert "hint: " in error
    assert message is None or message in error


def test_a_model_that_cannot_do_the_task(llmasos: Run, tmp_path: Path) -> None:
    generation_task(tmp_path)
    folder = tiny_models.build("bert_classifier", tmp_path / "bert")
    code, _, error = llmasos("eval", str(folder), "--task", str(tmp_path / "generation.yaml"))
    assert code == 2
    assert "needs a model that can write; it can label texts" in error


def test_the_list_of_tasks(llmasos: Run) -> None:
    code, text, _ = llmasos("eval", "--list")
    assert code == 0
    assert any(line.split()[:2] == ["arc-challenge", "choice"] for line in text.splitlines())
    tasks = json.loads(llmasos("eval", "--list", "--json")[1])
    assert set(tasks[0]) == {"name", "kind", "language", "title", "metrics", "license", "homepage", "citation"}


def test_the_keys_of_a_task(llmasos: Run) -> None:
    code, text, _ = llmasos("eval", "--explain", "choice")
    assert code == 0
    keys = [line.split()[0] for line in text.splitlines()]
    assert {"prompt", "choices", "few_shot.count", "data.splits.NAME[][source=url].url"} <= set(keys)
    assert "'\\n\\n'" in text, "a default that is blank can be seen"
    assert "did you mean choice" in llmasos("eval", "--explain", "choise")[2]
    assert all(row["description"] for row in json.loads(llmasos("eval", "--explain", "generation", "--json")[1]))


def test_scores_are_shown_with_the_version(llmasos: Run, llama: str, task: str) -> None:
    with Library().draft() as draft:
        for file in sorted(path for path in Path(llama).rglob("*") if path.is_file()):
            draft.add_file(str(file.relative_to(llama)), file)
        draft.publish(Reference.parse("my/llama:v1"), Metadata(task_family="causal"))
    assert llmasos("eval", "my/llama:v1", "--task", task, "--limit", "4")[0] == 0
    text = llmasos("show", "my/llama:v1")[1]
    row = next(line for line in text.splitlines() if line.startswith("choice"))
    assert "accuracy 0." in row
    assert "limit 4" in row
    scores = json.loads(llmasos("show", "my/llama:v1", "--json")[1])["scores"]
    assert scores[0]["task"] == "choice"
    code, listed, note = llmasos("list")
    assert "my/llama:v1" in listed and "evaluations/" not in listed
    assert "1 evaluation(s) are left out" in note
    assert "evaluations/choice:" in llmasos("list", "--kind", "report")[1]
    assert llmasos("rm", "my/llama:v1")[0] == code == 0


def test_completion_offers_tasks_and_no_evaluations() -> None:
    from llmasos.cli.evaluation import complete_task

    assert complete_task("arc-") == ["arc-challenge", "arc-easy"]


def test_the_module_is_light() -> None:
    import subprocess
    import sys

    code = (
        "import llmasos.cli.evaluation, sys; print(sorted({'torch', 'jinja2', 'pydantic', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
