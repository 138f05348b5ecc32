"""Twenty browsers at once while two trainings run: everybody is answered, and the server does not grow with them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmasos.library.store import Library
from llmasos.runs.queue import Queue
from llmasos.runs.run import Run
from llmasos.runs.states import State
from llmasos.runs.store import EVENTS, RunStore
from studio.studio_server import CHROMIUM, Watched, running_studio
from tiny_models import build
from tiny_runs import write_texts

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

MODEL = "smollm2:135m-instruct"
PATIENCE = 600_000
"""Milliseconds: twenty renderers and two trainings share the cores, one of which is slow, with the server."""
MOST_OF_A_SESSION = 8 * 2**20
"""Bytes of the server for a page that is open: its elements and what is on its way to the browser."""
SESSIONS = 20
COMING = 4
"""How many load the pages at the same time: a browser for all has to run their scripts. What they do is at once."""

Act = Callable[[Any, str], Awaitable[None]]


async def ask(page: Any, _: str) -> None:
    """A question in the playground."""
    await page.get_by_role("main").get_by_text("Settings").click()
    await page.get_by_label("Most tokens").fill("8")
    await page.get_by_label("Message").fill("What is the capital of France?")
    await page.get_by_role("button", name="Send").press("Enter")
    await page.get_by_text(re.compile(r"\d+ tokens · ")).wait_for()
    assert (await page.locator(".said.assistant").inner_text()).strip()


async def follow(page: Any, name: str) -> None:
    """A run that goes on before one's eyes."""
    await page.get_by_role("link", name=re.compile(name)).click()
    await page.get_by_role("heading", name=name, level=1).wait_for()
    await page.get_by_text("running", exact=True).wait_for()
    await page.locator(".curves svg:not(.key) path").first.wait_for()
    facts = "document.querySelector('.page').innerText.match(/\\d[\\d,]* \\/ \\d[\\d,]* steps/)?.[0]"
    before = await page.evaluate(facts)
    await page.wait_for_function(f"before => {facts} !== before", arg=before)


async def walk(page: Any, _: str) -> None:
    """Every page of the navigation, and back."""
    links = page.get_by_role("navigation", name="Navigation").get_by_role("link")
    for number in [*range(1, await links.count()), 0]:
        title = await links.nth(number).locator("div").inner_text()
        await links.nth(number).click()
        await page.wait_for_function("title => document.title.startsWith(title)", arg=title)
        await page.get_by_role("heading", level=1).wait_for()


async def search(page: Any, _: str) -> None:
    """A model is found and read."""
    await page.get_by_label("Search").fill("smollm2:135m-ins")
    await page.get_by_role("link", name=re.compile(MODEL)).click()
    await page.get_by_role("heading", name=MODEL, level=1).wait_for()


async def look(page: Any, _: str) -> None:
    """The model in service, with its figures."""
    await page.get_by_role("heading", name=MODEL, level=3).wait_for()


VISITS: list[tuple[str, Act, str]] = [
    *[("/playground", ask, "")] * 6, *[("/runs", follow, "first"), ("/runs", follow, "second")] * 2,
    *[("/", walk, "")] * 4, *[("/models", search, "")] * 3, *[("/serve", look, "")] * 3,
]  # fmt: skip
"""Where each goes and what it does there."""
assert len(VISITS) == SESSIONS


@contextmanager
def two_trainings(home: Path, folder: Path) -> Iterator[Callable[[], list[int]]]:
    """Two runs that do not end by themselves; how many events each has reported by now."""
    build("llama", folder / "model")
    write_texts(folder / "texts.jsonl")
    library = Library(home)
    queue = Queue(RunStore(library), limit=2)
    runs = [queue.store.create("pretrain", json.dumps(endless(folder, name)), name=name, recipe_folder=folder)
            for name in ("first", "second")]  # fmt: skip

    def events() -> list[int]:
        return [_lines(queue.store.folder(run) / EVENTS) for run in runs]

    try:
        yield events
        assert [queue.store.get(run.id).state for run in runs] == [State.RUNNING] * 2  # type: ignore[union-attr]
    finally:
        for run in runs:
            _end(queue, run)
        library.close()


def endless(folder: Path, name: str) -> dict[str, Any]:
    """A recipe of a training that reports every step and goes on for days."""
    return {
        "kind": "pretrain", "name": name, "model": str(folder / "model"),
        "method": {"kind": "full", "learning_rate": 0.01},
        "data": {"train": [{"path": str(folder / "texts.jsonl")}], "validation_share": 0.2},
        "trainer": {"steps": 9_999_999, "batch_size": 4, "dtype": "float32", "threads": 1, "log_every": 1},
        "evaluation": {"every": 1_000}, "checkpoints": {"every": 1_000, "minutes": None, "keep_last": 1},
        "output": {"name": f"test/{name}"},
    }  # fmt: skip


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _end(queue: Queue, run: Run) -> None:
    current = queue.store.get(run.id)
    if current is not None and current.state in (State.QUEUED, State.RUNNING):
        queue.stop(current, now=True)


@asynccontextmanager
async def session(browser: Any, address: str, path: str, door: asyncio.Semaphore) -> Any:
    """A browser of its own on a page; nothing may have been wrong in it when it is closed."""
    context = await browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE)
    watched = Watched(await context.new_page(), address)
    watched.page.on("response", lambda answer: answer.status < 400 or watched.problems.append(str(answer)))
    watched.page.on("requestfailed", lambda asked: watched.problems.append(f"{asked.url}: {asked.failure}"))
    async with door:
        await watched.page.goto(f"{address}/studio{path}", timeout=PATIENCE)
        await watched.page.get_by_role("heading", level=1).wait_for()
    yield watched.page
    assert watched.problems == []
    await context.close()


async def all_at_once(browser: Any, address: str, server: psutil.Process) -> int:
    """Everybody does what they came for; the server's bytes while all of them are still there."""
    everybody = asyncio.Barrier(len(VISITS) + 1)
    door = asyncio.Semaphore(COMING)

    async def one(path: str, act: Act, word: str) -> None:
        async with session(browser, address, path, door) as page:
            await everybody.wait()  # is here
            await act(page, word)
            await everybody.wait()  # is done
            await everybody.wait()  # was counted

    async def measure() -> int:
        await everybody.wait()
        await everybody.wait()
        size = server.memory_info().rss
        await everybody.wait()
        return int(size)

    async with asyncio.TaskGroup() as group:
        for visit in VISITS:
            group.create_task(one(*visit))
        measured = group.create_task(measure())
    return measured.result()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; Debian and Ubuntu: apt-get install chromium")
def test_twenty_sessions_and_two_trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from playwright.async_api import async_playwright

    monkeypatch.setenv("LLMASOS_CONCURRENT_RUNS", "2")
    home = tmp_path / "home"

    async def visit(address: str, server: psutil.Process) -> tuple[int, int, int]:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            # What is loaded once is loaded now.
            async with session(browser, address, "/playground", asyncio.Semaphore()) as page:
                await ask(page, "")
            before = server.memory_info().rss
            during = await all_at_once(browser, address, server)
            # They have left, and it goes on.
            async with session(browser, address, "/playground", asyncio.Semaphore()) as page:
                await ask(page, "")
            after = server.memory_info().rss
            await browser.close()
        return before, during, after

    with running_studio(home) as running, two_trainings(home, tmp_path) as events:
        before, during, after = asyncio.run(visit(running.address, psutil.Process(running.process.pid)))
        reported = events()
    assert all(count > 0 for count in reported)
    told = f"MiB of the server before {before >> 20}, during {during >> 20}, after {after >> 20}"
    print(told)
    assert during - before < SESSIONS * MOST_OF_A_SESSION, told
    assert after - before < SESSIONS * MOST_OF_A_SESSION, told
