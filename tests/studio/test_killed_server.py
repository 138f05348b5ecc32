"""A training that was started in the Studio outlives the server; killed itself, it goes on from its checkpoint."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from llmasos.library import acquire
from llmasos.library.store import Library
from llmasos.progress import Event
from llmasos.runs.events import EventFile
from llmasos.runs.states import State
from llmasos.runs.store import EVENTS, RunStore
from studio.studio_server import running_studio
from tiny_models import build

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

PATIENCE = 300_000
"""Milliseconds; a training is checked before it starts, in a process of its own, as its worker is."""
EXPECTED = ("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "ERR_SOCKET_NOT_CONNECTED")
"""What the console of a browser says when its server was killed."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny encoder to train and a tiny model that the Studio has in service."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("distilbert_classifier", "llama"):
        build(name, folder / name)
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Texts with a class each, enough for the steps."""
    path = tmp_path / "reviews.csv"
    rows = (f"this is a {'great' if number % 2 else 'terrible'} movie {number},{'good' if number % 2 else 'bad'}\n"
            for number in range(80))  # fmt: skip
    path.write_text("text,label\n" + "".join(rows), encoding="utf-8")
    return path


@pytest.fixture
def library(studio_home: Path, models: Path) -> Iterator[Library]:
    """The Studio's library, with the tiny encoder in it."""
    opened = Library(studio_home)
    acquire.import_path(models / "distilbert_classifier", name="tiny-bert", library=opened)
    yield opened
    opened.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens pages in which nothing may go wrong but that the server does not answer."""
    problems: list[str] = []
    contexts = []

    def open_one(address: str, path: str, *, language: str = "en") -> Any:
        context = chromium.new_context(viewport={"width": 1440, "height": 900})
        contexts.append(context)
        context.add_cookies([{"name": "llmasos_language", "value": language, "url": address}])
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("console", lambda told: problems.append(told.text) if told.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{address}/studio{path}")
        page.get_by_role("main").wait_for()
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert [problem for problem in problems if not any(expected in problem for expected in EXPECTED)] == []


def start(page: Any, table: Path) -> None:
    """Start a training of 144 steps by clicking."""
    page.get_by_label("or a path on this machine").fill(str(table))
    page.get_by_role("button", name="Use it").click()
    page.get_by_text("80 of 80 rows can be used").wait_for()
    page.get_by_label("trainer.batch_size").fill("4")
    page.get_by_label("trainer.epochs").fill("8")
    page.get_by_label("data.rendering.max_length").fill("64")
    page.get_by_label("output.name").fill("test/killed")
    for line in ("epochs: 8", "max_length: 64", "name: test/killed"):
        page.locator(".cm-content").get_by_text(line).first.wait_for()
    page.get_by_role("button", name="Start").click()
    page.get_by_role("heading", name="Curves").wait_for()


def when(condition: Callable[[], Any]) -> Any:
    """What the condition gives as soon as that is something; looked at often, for the worker is fast."""
    deadline = time.monotonic() + PATIENCE / 1000
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


class Worker:
    """The process of a run that is running; it stands still while the test looks, so that it is not done too early."""

    def __init__(self, store: RunStore) -> None:
        (run,) = when(lambda: store.all(states=[State.RUNNING]))
        assert run.process is not None
        self.run, self._store, self._pid = run, store, run.process.pid

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self._pid, number)

    def events(self) -> list[Event]:
        """What it has reported."""
        return list(EventFile(self._store.folder(self.run) / EVENTS).read())

    def step(self) -> int:
        """Its last step."""
        return max(steps(self.events()), default=0)


def steps(events: Iterable[Event]) -> list[int]:
    """The steps that are reported."""
    return [int(event.values["step"]) for event in events if event.kind == "metric"]


def test_a_training_outlives_the_server_and_is_resumed(
    open_page: Callable[..., Any], library: Library, studio_home: Path, models: Path, table: Path
) -> None:
    store = RunStore(library)
    with running_studio(studio_home, str(models / "llama")) as running:
        address = running.address
        page = open_page(address, "/train?goal=classify&model=tiny-bert")
        start(page, table)
        worker = Worker(store)
        when(worker.step)
        worker.send(signal.SIGSTOP)
        page.get_by_text("running", exact=True).wait_for()
        other = open_page(address, "/runs", language="zh")
        running.process.kill()
        running.process.wait()
    page.get_by_text("Connection lost.").wait_for()
    other.get_by_text("连接丢失").wait_for()
    # Without a server the worker works on.
    before = worker.step()
    worker.send(signal.SIGCONT)
    when(lambda: worker.step() > before)
    worker.send(signal.SIGSTOP)
    with running_studio(studio_home, str(models / "llama"), port=int(urlsplit(address).port or 0)):
        # The pages come back by themselves and tell what is going on.
        page.get_by_text("Connection lost.").wait_for(state="hidden")
        page.get_by_text("running", exact=True).wait_for()
        other.get_by_text("运行中", exact=True).wait_for()
        worker.send(signal.SIGCONT)
        when(lambda: any(event.kind == "checkpoint" for event in worker.events()))
        worker.send(signal.SIGKILL)
        page.get_by_text("lost", exact=True).wait_for()
        page.get_by_text("the worker process of the run is gone").wait_for()
        page.get_by_text("It can go on where it stopped.").wait_for()
        reported = len(worker.events())
        page.get_by_role("button", name="Go on").click()
        page.get_by_text("succeeded", exact=True).wait_for()
        page.get_by_text("test/killed").first.wait_for()
    done = store.get(worker.run.id)
    assert done is not None and done.state is State.SUCCEEDED and done.attempt == 2
    assert min(steps(worker.events()[reported:])) > 1, "it began anew"
