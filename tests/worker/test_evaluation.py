"""Evaluations in the background: the scores of one in the foreground, also after it was stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

import llmasos
import tiny_models
from evaluation_cases import choice_task
from llmasos.errors import InvalidRecipe, InvalidRequest, NotFound
from llmasos.evaluation.journal import Journal
from llmasos.evaluation.recipe import EvaluateRecipe
from llmasos.evaluation.records import Record
from llmasos.library.store import Library
from llmasos.recipe import loading
from llmasos.recipe.document import Document
from llmasos.runs.context import RunContext, Stopped
from llmasos.runs.queue import Queue
from llmasos.runs.store import LOG, RECIPE, RunStore
from llmasos.sdk_evaluation import evaluation_work

pytestmark = pytest.mark.integration  # workers are processes of their own

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def store(home: Path) -> Iterator[RunStore]:
    library = Library(home)
    yield RunStore(library)
    library.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build("llama", tmp_path_factory.mktemp("model") / "llama")


def test_the_same_scores_as_in_the_foreground(
    store: RunStore, llmasos: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice_task(tmp_path)
    monkeypatch.chdir(tmp_path)
    given = ("eval", str(model), "--task", "./choice.yaml", "--few-shot", "1", "--limit", "6", "--json")
    code, text, error = llmasos(*given)
    assert code == 0, error
    (here,) = json.loads(text)
    code, text, error = llmasos(*given, "--background")
    assert code == 0, error
    run = Queue(store, limit=1).wait(store.find(json.loads(text)["id"]), 100)
    assert (run.kind, run.state) == ("evaluate", "succeeded"), (store.folder(run) / LOG).read_text()
    (result,) = run.result["tasks"]
    assert result["scores"] == {name: score["value"] for name, score in here["scores"].items()}
    assert result["counts"] == here["counts"]
    assert (Path(result["folder"]) / "samples.parquet").is_file()
    kept = yaml.safe_load((store.folder(run) / RECIPE).read_text())
    assert kept["tasks"] == [str(tmp_path / "choice.yaml")], "the worker works in another folder"


def test_a_run_that_was_stopped_goes_on(
    home: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice_task(tmp_path)
    recipe = EvaluateRecipe(model=str(model), tasks=[str(tmp_path / "choice.yaml")])
    append = Journal.append
    written: list[int] = []

    def five(journal: Journal, record: Record) -> None:
        if len(written) == 5:
            raise Stopped
        append(journal, record)
        written.append(record.index)

    library = Library(home)
    (whole,) = evaluation_work(recipe, library)(RunContext("whole", tmp_path / "whole")).value
    folder = tmp_path / "again"
    with monkeypatch.context() as patched, pytest.raises(Stopped):
        patched.setattr(Journal, "append", five)
        evaluation_work(recipe, library)(RunContext("again", folder))
    (again,) = evaluation_work(recipe, library)(RunContext("again", folder, resume=True)).value
    library.close()
    lines = [line for file in sorted(folder.rglob("journal-*.jsonl")) for line in file.read_text().splitlines()]
    assert len(written) == 5 and len(lines) == len(whole.records) > 5, "what was there is not made again"
    assert again.evaluation.scores == whole.evaluation.scores


@pytest.mark.parametrize(("changes", "error", "message"), [
    ({"tasks": ["arc-chalenge"]}, NotFound, "arc-chalenge"),
    ({"tasks": []}, InvalidRecipe, "tasks"),
    ({"limits": 3}, InvalidRecipe, "did you mean limit"),
    ({"threads": 0}, InvalidRecipe, "threads"),
    ({"model": "no-such-model"}, NotFound, "no-such-model"),
    ({"endpoint": {"url": "http://127.0.0.1:9/v1", "key_variable": "NO_SUCH_KEY"}}, InvalidRequest, "NO_SUCH_KEY"),
])  # fmt: skip
def test_what_cannot_run_is_not_queued(
    store: RunStore, model: Path, tmp_path: Path, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    choice_task(tmp_path)
    recipe = {"kind": "evaluate", "model": str(model), "tasks": [str(tmp_path / "choice.yaml")], **changes}
    with pytest.raises(error, match=message):
        llmasos.evaluate_in_background(recipe, library=store.library)
    assert store.all() == []


def test_options_that_need_this_terminal_are_refused(llmasos: Run, model: Path, tmp_path: Path) -> None:
    choice_task(tmp_path)
    task = str(tmp_path / "choice.yaml")
    code, _, text = llmasos("eval", str(model), "--task", task, "--background", "--report", str(tmp_path / "x.html"))
    assert code == 2 and "--report" in text


@pytest.mark.parametrize(("change", "chat"), [("chat=on", "on"), ("chat=off", "off"), ("chat=auto", "auto")])
def test_yaml_reads_on_and_off_as_true_and_false(change: str, chat: str) -> None:
    document = Document({"kind": "evaluate", "model": "m", "tasks": ["arc-easy"]}, "recipe", {})
    recipe = loading.check(document, EvaluateRecipe, [change])
    assert recipe.chat == recipe.options.chat == chat


def test_two_tasks_of_one_name_would_share_a_folder(store: RunStore, llmasos: Run, model: Path, tmp_path: Path) -> None:
    choice_task(tmp_path)
    task = str(tmp_path / "choice.yaml")
    for given in (("--background",), ("--output", str(tmp_path / "out"))):
        code, _, error = llmasos("eval", str(model), "--task", f"{task},{task}", *given)
        assert code == 2 and "two tasks are named choice" in error
    assert store.all() == []
