"""Training as a run: in this process, in the background, stopped, killed and gone on with."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

import tiny_models
import tiny_runs
from llmasos.errors import InUse, InvalidRecipe, InvalidRequest, MissingDependency, NotFound
from llmasos.library.store import Library
from llmasos.recipe import loading
from llmasos.runs.events import EventFile
from llmasos.runs.queue import Queue
from llmasos.runs.run import Run
from llmasos.runs.states import ACTIVE, State
from llmasos.runs.store import EVENTS, RECIPE, RunStore
from llmasos.sdk import train, train_in_background
from llmasos.training import launch, limits
from llmasos.training.launch import as_yaml, read_recipe
from llmasos.training.recipe.kinds import KINDS

pytestmark = pytest.mark.integration  # by its time: seconds, not milliseconds

TEMPLATES = Path(loading.__file__).parent / "templates"
Run_ = Callable[..., tuple[int, str, str]]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe with relative paths that trains a tiny model in a second."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    tiny_models.build("llama", folder / "model")
    tiny_runs.write_texts(folder / "texts.jsonl")
    values = {
        "kind": "pretrain",
        "name": "tiny",
        "model": "./model",
        "method": {"kind": "full", "learning_rate": 0.01},
        "data": {"train": [{"path": "texts.jsonl"}], "validation_share": 0.2, "packing": {"kind": "none"}},
        "trainer": {"steps": 6, "batch_size": 8, "micro_batch_size": 2, "dtype": "float32", "device": "cpu",
                    "threads": 1, "log_every": 1},
        "evaluation": {"every": 3},
        "checkpoints": {"every": 2, "minutes": None},
        "output": {"name": "my/tiny"},
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture
def store(home: Path) -> Iterator[RunStore]:
    library = Library(home)
    store = RunStore(library)
    yield store
    for run in store.all(states=ACTIVE):  # nothing may outlive a failed test
        store.cancel_queued(run)
        if run.process is not None and run.process.is_here() and run.process.pid != os.getpid():
            os.kill(run.process.pid, signal.SIGKILL)
    library.close()


def measured(store: RunStore, run: Run) -> dict[int, float]:
    """The loss by step; of steps done twice the later."""
    events = EventFile(store.folder(run) / EVENTS).read()
    return {
        int(event.values["step"]): float(event.values["loss"])
        for event in events
        if event.kind == "metric" and "loss" in event.values
    }


def until(store: RunStore, check: Callable[[Run], bool], name: str = "tiny") -> Run:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        store.reap()
        runs = [run for run in store.all() if run.name == name]
        if runs and check(runs[0]):
            return runs[0]
        time.sleep(0.05)
    raise AssertionError(store.all())


def test_paths_of_a_recipe_are_relative_to_its_folder(recipe: Path) -> None:
    read = read_recipe(recipe, ["trainer.steps=9"])
    assert read.trainer.steps == 9
    assert read.model.reference == str(recipe.parent / "model")  # type: ignore[union-attr]
    assert read.data.train[0].path == str(recipe.parent / "texts.jsonl")  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_resolved_recipe_says_the_same(tmp_path: Path, kind: str) -> None:
    original = read_recipe(TEMPLATES / f"{kind}.en.yaml")
    path = tmp_path / RECIPE
    path.write_text(as_yaml(original))
    assert loading.load(path, KINDS[kind]) == original


def test_kinds_that_do_not_train_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("kind: data\nsources: []\n")
    with pytest.raises(InvalidRecipe, match="does not train") as caught:
        read_recipe(path)
    assert "llmasos data prepare" in str(caught.value.hint)
    with pytest.raises(InvalidRecipe, match="no kind of recipe 'sfd'") as caught:
        read_recipe({"kind": "sfd"})
    assert "sft" in str(caught.value.hint)
    with pytest.raises(InvalidRecipe, match="kind: this key is needed"):
        read_recipe({"name": "x"})
    with pytest.raises(NotFound):
        read_recipe(tmp_path / "none.yaml")


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_NEEDED", ("torch", "no_such_package"))
    with pytest.raises(MissingDependency, match="no_such_package"):
        train({"kind": "sft"})


def test_training_from_python(recipe: Path, store: RunStore) -> None:
    result = train(recipe, library=store.library, set=["trainer.steps=4"], name="from python")
    assert result.outcome == "finished" and result.steps == 4
    [run] = store.all()
    assert (run.state, run.name, run.result["name"]) == (State.SUCCEEDED, "from python", "my/tiny:latest")
    assert set(measured(store, run)) == {1, 2, 3, 4}
    assert run.result["after"]["loss"] < run.result["before"]["loss"]
    kept = yaml.safe_load((store.folder(run) / RECIPE).read_text())
    assert kept["data"]["rendering"]["today"] == date.today().isoformat(), "a run that goes on shows the same date"
    assert store.library.resolve("my/tiny").metadata.kind == "model"


def test_errors_of_training_are_raised_and_recorded(recipe: Path, store: RunStore) -> None:
    (recipe.parent / "texts.jsonl").unlink()
    with pytest.raises(NotFound, match=r"texts\.jsonl"):
        train(recipe, library=store.library)
    [run] = store.all()
    assert run.state is State.FAILED and run.failure is not None and run.failure.code == "not_found"
    tiny_runs.write_texts(recipe.parent / "texts.jsonl")
    assert train(resume=run.id, library=store.library).outcome == "finished"
    assert store.find(run.id).attempt == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "either a recipe or a run"),
        ({"recipe": {"kind": "sft"}, "resume": "x"}, "either a recipe or a run"),
        ({"resume": "x", "name": "y"}, "keeps its recipe"),
        ({"resume": "x", "set": ["a=1"]}, "keeps its recipe"),
    ],
)
def test_arguments_that_contradict_each_other(store: RunStore, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        train(**arguments, library=store.library)


def test_a_run_of_another_kind_is_not_trained(store: RunStore) -> None:
    run = store.create("data", "kind: data\n")
    with pytest.raises(InvalidRecipe, match="is no training"):
        train(resume=run.id, library=store.library)


def test_the_command_trains_and_shows_it(recipe: Path, store: RunStore, llmasos: Run_) -> None:
    code, out, err = llmasos("train", str(recipe))
    assert code == 0, err
    assert "my/tiny:latest" in out and "6 / 6" in out and "→" in out
    assert "step 3: eval_loss" in err and "llmasos runs plot" in err and "llmasos run my/tiny:latest" in err
    code, out, _ = llmasos("train", str(recipe), "--set", "trainer.steps=2", "--set", "output.name=null", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["state"] == "succeeded" and facts["result"]["steps"] == 2
    assert facts["result"]["name"] is None and facts["result"]["digest"].startswith("sha256:")


def test_a_dry_run_checks_and_trains_nothing(recipe: Path, store: RunStore, llmasos: Run_) -> None:
    code, out, err = llmasos("train", str(recipe), "--dry-run", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["valid"] is True and found["report"]["memory"]["total"] > 0
    (recipe.parent / "texts.jsonl").unlink()
    code, out, _ = llmasos("train", str(recipe), "--dry-run")
    assert code == 3 and "texts.jsonl" in out
    assert store.all() == []


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ((), 2, "either a recipe or a run"),
        (("none.yaml",), 3, "none.yaml"),
        (("--dry-run",), 2, "needs a recipe"),
        (("x.yaml", "--dry-run", "--background"), 2, "neither --background"),
        (("--resume", "nobody"), 3, "no run 'nobody'"),
    ],
)
def test_what_is_wrong_is_told(llmasos: Run_, home: Path, arguments: tuple[str, ...], code: int, reason: str) -> None:
    found, out, err = llmasos("train", *arguments)
    assert (found, out) == (code, "") and reason in err


def start(*arguments: str) -> subprocess.Popen[str]:
    """`llmasos train` in a process of its own."""
    command = [sys.executable, "-m", "llmasos.cli.app", "train", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


LONG = ("--set", "trainer.steps=60", "--set", "evaluation.every=30", "--set", "checkpoints.every=5",
        "--set", "output.name=null")  # fmt: skip


def uninterrupted(recipe: Path, store: RunStore) -> dict[int, float]:
    changes = [value for value in LONG if value != "--set"]
    train(recipe, library=store.library, set=changes, name="whole")
    return measured(store, store.find("whole"))


@pytest.mark.integration
def test_ctrl_c_saves_and_the_run_goes_on(recipe: Path, store: RunStore, llmasos: Run_) -> None:
    process = start(str(recipe), *LONG)
    run = until(store, lambda run: len(measured(store, run)) >= 7)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "has stopped" in out and f"llmasos train --resume {run.id}" in err
    stopped = store.find(run.id)
    assert stopped.state is State.CANCELLED and 7 <= max(measured(store, run)) < 60
    code, _, err = llmasos("train", "--resume", run.id)
    assert code == 0, err
    assert store.find(run.id).state is State.SUCCEEDED
    assert measured(store, run) == uninterrupted(recipe, store), "bit for bit"


@pytest.mark.integration
def test_a_killed_training_goes_on_bit_for_bit(recipe: Path, store: RunStore, llmasos: Run_) -> None:
    process = start(str(recipe), *LONG)
    run = until(store, lambda run: len(measured(store, run)) >= 12)
    process.kill()
    process.communicate(timeout=60)
    store.reap()
    assert store.find(run.id).state is State.LOST
    code, out, _ = llmasos("runs", "resume", run.id)
    assert code == 0 and out.strip() == run.id
    done = until(store, lambda run: run.state not in ACTIVE)
    assert done.state is State.SUCCEEDED and done.attempt == 2, (store.folder(run) / "log.txt").read_text()
    assert measured(store, run) == uninterrupted(recipe, store)


@pytest.mark.integration
def test_in_the_background_one_after_the_other(recipe: Path, store: RunStore) -> None:
    first = train_in_background(recipe, library=store.library)
    second = train_in_background(recipe, library=store.library, set=["seed=7"], name="tiny 2")
    assert store.find(second.id).state is State.QUEUED
    with pytest.raises(InUse):
        train_in_background(resume=second.id, library=store.library)
    done = until(store, lambda run: run.state not in ACTIVE, "tiny 2")
    before = store.find(first.id)
    assert before.state is State.SUCCEEDED and done.state is State.SUCCEEDED
    assert before.finished is not None and done.started is not None and before.finished <= done.started
    queue = Queue(store, limit=1)
    assert queue.dispatch() == []
    log = (store.folder(first) / "log.txt").read_text()
    assert "state" not in log.splitlines()[0] and "succeeded (attempt 1)" in log


@pytest.mark.integration
def test_two_processes_are_one_run(recipe: Path, store: RunStore) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "llmasos.cli.app", "train"]
    done = subprocess.run([*command, str(recipe), "--json"], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    [run] = store.all()
    assert json.loads(done.stdout)["id"] == run.id, "the first process alone writes"
    assert run.state is State.SUCCEEDED and run.result["steps"] == 6
    steps = [
        event.values["step"]
        for event in EventFile(store.folder(run) / EVENTS).read()
        if event.kind == "metric" and "loss" in event.values
    ]
    assert steps == [1, 2, 3, 4, 5, 6], "nothing is reported twice"


@pytest.mark.integration
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_closed_terminal_stops_the_run_with_a_checkpoint(recipe: Path, store: RunStore) -> None:
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests under nohup ignores it
        command = [sys.executable, "-m", "llmasos.cli.app", "train", str(recipe), *LONG]
        os.execv(sys.executable, [*command, "--set", "trainer.steps=5000"])
    reader = threading.Thread(target=drain, args=(terminal,))
    reader.start()
    run = until(store, lambda run: len(measured(store, run)) >= 7)
    os.kill(child, signal.SIGHUP)  # as the shell does, beside the kernel
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
    reader.join()
    ended = store.find(run.id)
    log = (store.folder(run) / "log.txt").read_text()
    assert ended.state is State.CANCELLED and "Traceback" not in log, log[-3000:]
    assert f"checkpoint checkpoints/step-{max(measured(store, run)):08}" in log, "its last step is saved"


def drain(terminal: int) -> None:
    """Read what is written to a terminal until it is closed."""
    try:
        while os.read(terminal, 4096):
            pass
    except OSError:
        return


@pytest.mark.parametrize("kind", ["pretrain", "sft", "classify", "seq2seq", "reward"])
@pytest.mark.parametrize("wish", [{}, {"packing": {"kind": "none"}, "rendering": {"overlong": {"kind": "truncate"}}}])
def test_a_kept_recipe_leaves_to_the_kind_what_the_recipe_left(kind: str, wish: dict[str, Any], tmp_path: Path) -> None:
    """Runs in the background and runs that go on read their recipe again."""
    values = {"kind": kind, "model": "some:model", "data": {"train": [{"path": "rows.jsonl"}], **wish}}
    path = tmp_path / "recipe.yaml"
    original = read_recipe(values)
    path.write_text(as_yaml(original), encoding="utf-8")
    again = read_recipe(path)
    assert again == original
    for recipe in (original, again):
        assert limits.packing(recipe, packable=True) == limits.packing(original, packable=True)
        assert limits.packing(recipe, packable=False)[0].kind == "none"
        assert limits.rendering_options(recipe, 64) == limits.rendering_options(original, 64)
