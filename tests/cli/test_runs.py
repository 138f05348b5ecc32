"""``llmasos runs`` on runs that were done in this process."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmasos import progress
from llmasos.cli.commands import command_table
from llmasos.library.store import Library
from llmasos.runs.context import RunContext
from llmasos.runs.execution import Done, Finished, execute
from llmasos.runs.run import Run
from llmasos.runs.store import EVENTS, RunStore

Run_ = Callable[..., tuple[int, str, str]]


def training(context: RunContext, steps: int = 40) -> Done:
    with progress.current().task("train", total=steps, unit="steps") as task:
        for step in range(1, steps + 1):
            context.report(
                step=step, tokens=step * 100, loss=3.0 - step / 20, learning_rate=0.1, tokens_per_second=560.0,
                mfu=0.41, memory_bytes=2 * 2**30,
            )  # fmt: skip
            if step % 10 == 0:
                context.report(step=step, tokens=step * 100, eval_loss=3.1 - step / 20)
                context.checkpoint(context.folder / "checkpoints" / str(step), step=step)
            task.update(step)
    context.sample(step=steps, prompt="a", output="b")
    return Done(None, {"name": "my/x:latest", "before": {"loss": 3.1}, "after": {"loss": 1.1}})


@pytest.fixture
def store(home: Path) -> Iterator[RunStore]:
    library = Library(home)
    yield RunStore(library)
    library.close()


def done(store: RunStore, work: Callable[[RunContext], Done] = training, *, name: str | None = None) -> Finished:
    run = store.claim(store.create("sft", "kind: sft\n", name=name, background=False).id)
    assert run is not None
    return execute(store, run, work)


def failing(context: RunContext) -> Done:
    training(context)
    raise ZeroDivisionError("by zero")


def test_the_commands_are_in_the_table() -> None:
    assert {"train", "runs"} <= {row.name for row in command_table("en")}


def test_an_empty_list_teaches(llmasos: Run_) -> None:
    assert "llmasos train RECIPE" in llmasos("runs", "list")[1]


def test_runs_are_listed(store: RunStore, llmasos: Run_) -> None:
    first = done(store, name="first").run
    second = done(store, failing).run
    code, out, _ = llmasos("runs", "list")
    assert code == 0 and out.index(second.id) < out.index(first.id)
    assert "first" in out and "succeeded" in out and "failed" in out and "100%" in out and "1.0000" in out
    found = json.loads(llmasos("runs", "list", "--json", "--state", "failed")[1])
    assert [run["id"] for run in found] == [second.id]
    assert found[0]["error"]["code"] == "internal_error" and found[0]["can_resume"] is True
    assert json.loads(llmasos("runs", "list", "--json", "--kind", "data")[1]) == []


def test_a_run_is_described(store: RunStore, llmasos: Run_) -> None:
    run = done(store, name="first").run
    code, out, _ = llmasos("runs", "show", "first")
    assert code == 0
    for part in (run.id, "succeeded", "100% · 40 / 40 steps", "training 1.0000", "validation 1.1000",
                 "best 1.1000 at step 40", "560 tokens/s", "41.0%", "2.0 GiB", "4K", "my/x:latest", "3.1000 → 1.1000",
                 "checkpoints/40, step 40"):  # fmt: skip
        assert part in out, part
    facts = json.loads(llmasos("runs", "show", "first", "--json")[1])
    assert facts["progress"]["measures"]["loss"] == 1.0 and facts["progress"]["share"] == 1.0
    assert facts["result"]["name"] == "my/x:latest" and facts["damaged_lines"] == [] and facts["error"] is None


def test_a_failed_run_shows_error_hint_and_how_to_go_on(store: RunStore, llmasos: Run_) -> None:
    run = done(store, failing).run
    _, out, err = llmasos("runs", "show", run.id)
    assert "ZeroDivisionError: by zero" in out and f"llmasos runs logs {run.id}" in out
    assert f"llmasos runs resume {run.id}" in err
    assert "Traceback" in llmasos("runs", "logs", run.id)[1]


def test_time_left_of_a_running_run(store: RunStore, llmasos: Run_) -> None:
    seen: list[str] = []

    def work(context: RunContext) -> Done:
        with progress.current().task("train", total=100_000, unit="steps") as task:
            for step in range(1, 4):
                task.update(step)
                time.sleep(0.06)
            seen.append(llmasos("runs", "show", context.id)[1])
            seen.append(llmasos("runs", "list", "--json")[1])
        return Done()

    done(store, work)
    assert "left" in seen[0] and "running" in seen[0]
    [facts] = json.loads(seen[1])
    assert facts["progress"]["seconds_left"] > 100 and facts["state"] == "running"


def test_logs_and_their_ends(store: RunStore, llmasos: Run_) -> None:
    run = done(store).run
    _, out, _ = llmasos("runs", "logs", run.id)
    assert "running (attempt 1)" in out and "step=40" in out
    assert len(llmasos("runs", "logs", run.id, "-n", "2")[1].splitlines()) == 2
    assert llmasos("runs", "logs", run.id, "-n", "0")[1] == ""
    events = llmasos("runs", "logs", run.id, "--events", "--follow")[1].splitlines()
    assert [json.loads(line)["kind"] for line in (events[0], events[-1])] == ["state", "state"]
    facts = json.loads(llmasos("runs", "logs", run.id, "-n", "3", "--json")[1])
    assert len(facts["lines"]) == 3 and facts["path"].endswith("log.txt")
    assert llmasos("runs", "logs", run.id, "-f", "--json")[0] == 2


def test_following_ends_with_the_run(store: RunStore, llmasos: Run_) -> None:
    run = store.claim(store.create("sft", "kind: sft\n", background=False).id)
    assert run is not None
    go = threading.Event()

    def work(context: RunContext) -> Done:
        assert go.wait(30)
        context.warn("look out")
        return training(context)

    worker = threading.Thread(target=lambda: execute(store, run, work))
    worker.start()
    threading.Timer(0.5, go.set).start()
    code, out, err = llmasos("runs", "show", "--follow", run.id)
    worker.join()
    assert code == 0 and "succeeded" in out
    assert "look out" in err and "step 40: eval_loss 1.1" in err and "step 40: a → b" in err
    _, out, _ = llmasos("runs", "logs", "-f", run.id)
    assert "look out" in out and "succeeded (attempt 1)" in out


def test_damaged_events_are_told(store: RunStore, llmasos: Run_) -> None:
    run = done(store).run
    path = store.folder(run) / EVENTS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b'{"kind": "met\n', *lines[3:]]))
    _, out, err = llmasos("runs", "show", run.id)
    assert "succeeded" in out and "1 lines of events.jsonl are damaged" in err
    assert json.loads(llmasos("runs", "show", run.id, "--json")[1])["damaged_lines"] == [4]
    assert "damaged" in llmasos("runs", "plot", run.id)[2]


def test_curves_in_the_terminal_and_in_files(store: RunStore, llmasos: Run_, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    first, second = done(store, name="one").run, done(store, name="two").run
    code, out, _ = llmasos("runs", "plot", "one", "two")
    assert code == 0 and out.startswith("Loss") and "two · Validation loss" in out
    assert any("\u2801" <= letter <= "\u28ff" for letter in out)
    html, png = tmp_path / "curves.html", tmp_path / "curves.png"
    code, out, _ = llmasos("runs", "plot", first.id, "--html", str(html), "--png", str(png))
    assert code == 0 and str(html) in out and str(png) in out
    assert "Learning rate" in html.read_text() and png.read_bytes().startswith(b"\x89PNG")
    data = json.loads(llmasos("runs", "plot", "one", second.id, "-m", "eval_loss", "--x", "tokens", "--json")[1])
    assert [run["name"] for run in data["runs"]] == ["one", "two"]
    assert data["runs"][0]["curves"] == {
        "eval_loss": [{"step": step, "value": 3.1 - step / 20, "tokens": step * 100.0} for step in (10, 20, 30, 40)]
    }


def test_values_that_are_no_numbers_are_null_in_json(store: RunStore, llmasos: Run_) -> None:
    def work(context: RunContext) -> Done:
        context.report(step=1, loss=1.0)
        context.report(step=2, loss=math.nan)
        return Done()

    run = done(store, work).run
    data = json.loads(llmasos("runs", "plot", run.id, "--json")[1])
    assert [point["value"] for point in data["runs"][0]["curves"]["loss"]] == [1.0, None]


def test_removing_asks(store: RunStore, llmasos: Run_) -> None:
    run = done(store).run
    code, _, err = llmasos("runs", "rm", run.id)
    assert code == 2 and "--force" in err and store.folder(run).exists()
    code, out, _ = llmasos("runs", "rm", run.id, run.id, "--force", "--json")
    assert code == 0 and json.loads(out) == {"removed": [run.id]}
    assert not store.folder(run).exists() and llmasos("runs", "show", run.id)[0] == 3


def queued(store: RunStore) -> Run:
    return store.create("sft", "kind: sft\n", background=False)


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("show", "onee"), 3, "did you mean one"),
        (("list", "--state", "runing"), 2, "did you mean running"),
        (("stop", "one"), 2, "has ended"),
        (("resume", "one"), 2, "cannot be resumed"),
        (("resume", "waiting"), 2, "is queued"),
        (("rm", "waiting"), 2, "queued or running"),
        (("plot", "one", "-m", "losss"), 2, "did you mean loss"),
        (("plot", "waiting"), 2, "no measure has been reported"),
        (("logs",), 2, "needs RUN"),
        (("show", ""), 3, "there is no run"),
        (("stopp", "one"), 2, "did you mean stop"),
    ],
)
def test_what_is_wrong_is_told(
    store: RunStore, llmasos: Run_, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    done(store, name="one")
    store.create("sft", "kind: sft\n", name="waiting", background=False)
    found, out, err = llmasos("runs", *arguments)
    assert (found, out) == (code, ""), err
    assert reason in err


def test_stopping_a_queued_run(store: RunStore, llmasos: Run_) -> None:
    run = queued(store)
    code, out, err = llmasos("runs", "stop", run.id)
    assert code == 0 and "has stopped" in out and "runs resume" in err
    assert store.find(run.id).state == "cancelled"


def test_stopping_a_running_run(store: RunStore, llmasos: Run_) -> None:
    """The run is in this process, so its own handler gets the signal."""
    answers: list[tuple[int, str, str]] = []

    def work(context: RunContext) -> Done:
        asker = threading.Thread(target=lambda: answers.append(llmasos("runs", "stop", context.id, "--wait", "0")))
        asker.start()
        asker.join()
        return Done(context.should_stop(), cancelled=context.should_stop())

    before = signal.getsignal(signal.SIGTERM)
    finished = done(store, work)
    assert finished.value is True and finished.run.state == "cancelled"
    assert answers[0][0] == 0 and "as soon as its checkpoint is written" in answers[0][1]
    assert signal.getsignal(signal.SIGTERM) is before


def test_ids_and_names_are_completed(store: RunStore) -> None:
    from llmasos.cli.completion import complete_run

    run = done(store, name="first").run
    assert complete_run("fi") == ["first"] and complete_run("sft-") == [run.id] and complete_run("x") == []
