"""The worker itself: what it can do, and data prepared in the background."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmasos.library.store import Library
from llmasos.runs.queue import Queue
from llmasos.runs.run import Run
from llmasos.runs.store import LOG, RECIPE, RunStore
from llmasos.training.recipe.kinds import KINDS as TRAINING
from llmasos.worker.kinds import KINDS
from llmasos.worker.main import main

pytestmark = pytest.mark.integration  # many processes


@pytest.fixture
def store(home: Path) -> Iterator[RunStore]:
    library = Library(home)
    yield RunStore(library)
    library.close()


def ended(store: RunStore, run: Run) -> Run:
    found = Queue(store, limit=1).wait(run, 100)
    assert found.finished is not None, (store.folder(run) / LOG).read_text()
    return found


def test_every_kind_of_recipe_can_be_done() -> None:
    assert set(KINDS) == {*TRAINING, "data", "evaluate"}


def test_the_worker_wants_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_a_run_that_another_has_is_left_alone(store: RunStore) -> None:
    run = store.claim(store.create("data", "kind: data\n").id)
    assert run is not None
    assert main([run.id]) == 0 and main(["nothing"]) == 0
    assert store.find(run.id) == run


def test_data_is_prepared_in_the_background(
    store: RunStore, llmasos: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "rows.jsonl").write_text('{"instruction": "Name a colour.", "output": "Blue."}\n')
    (folder / "data.yaml").write_text("kind: data\nname: me/tiny\nsources: [{path: rows.jsonl}]\n")
    code, out, err = llmasos("data", "prepare", str(folder / "data.yaml"), "--background", "--workers", "1", "--json")
    assert code == 0, err
    run = ended(store, store.find(json.loads(out)["id"]))
    assert (run.state, run.name) == ("succeeded", "me/tiny"), run.failure
    assert run.result["name"] == "me/tiny:latest" and run.result["totals"]["kept"] == 1
    assert store.library.resolve("me/tiny").metadata.kind == "dataset"
    assert "made: dataset me/tiny:latest" in (store.folder(run) / LOG).read_text()
    code, _, err = llmasos("data", "prepare", str(folder / "data.yaml"), "--background", "--keep-work")
    assert code == 2 and "--keep-work" in err


def test_a_recipe_that_was_broken_meanwhile_fails_the_run(store: RunStore) -> None:
    run = store.create("sft", "kind: sft\nmodle: x\n")
    Queue(store, limit=1).dispatch()
    failed = ended(store, run)
    assert failed.state == "failed" and failed.failure is not None and failed.failure.code == "invalid_recipe"
    assert RECIPE in failed.failure.message


def test_the_worker_is_a_module(home: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "llmasos.worker"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "usage" in done.stderr
