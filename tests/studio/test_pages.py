"""What a newcomer does in the Studio, by clicking, in a real browser with the real small model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from llmasos.i18n import speaking, t
from llmasos.library.metadata import Metadata
from llmasos.library.reference import Reference
from llmasos.library.store import Library
from llmasos.runs.outcome import Outcome
from llmasos.runs.queue import Queue
from llmasos.runs.states import State
from llmasos.runs.store import EVENTS, RunStore
from llmasos.studio.pages import PAGES
from studio.accessibility import grave_violations
from studio.studio_server import Watched
from tiny_models import build
from tiny_runs import write_texts

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

MODEL = "smollm2:135m-instruct"
Open = Callable[..., Watched]


@pytest.fixture(scope="module")
def finished(address: str, studio_home: Path) -> str:
    """The id of a run that has ended, with curves."""
    library = Library(studio_home)
    store = RunStore(library)
    run = store.create("pretrain", "kind: pretrain\n", name="finished", background=False)
    claimed = store.claim(run.id)
    assert claimed is not None
    events = ({"kind": "metric", "label": "train", "values": {"step": step, "loss": 3 / step}} for step in range(1, 9))
    (store.folder(run) / EVENTS).write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    store.finish(claimed, Outcome(claimed.attempt, State.SUCCEEDED))
    library.close()
    return run.id


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("width", [1440, 360])
def test_every_page_is_reached_by_the_navigation(open_browser: Open, language: str, width: int) -> None:
    with speaking(language):
        names, menu = [page.title() for page in PAGES if page.in_navigation], t("Navigation")
    page = open_browser(language=language, width=width).open("/")
    navigation = page.get_by_role("navigation", name=menu)
    for name in [*names[1:], names[0]]:
        if not navigation.is_visible():
            page.get_by_role("button", name=menu).click()
        navigation.get_by_role("link", name=name, exact=True).click()
        page.wait_for_function("name => document.title.startsWith(name)", arg=name)
        navigation.wait_for(state="hidden" if width < 900 else "visible")
        assert page.get_by_role("heading", level=1).is_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{name} is too wide"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_accessible_and_asks_this_server_only(
    open_browser: Open, address: str, finished: str, theme: str
) -> None:
    """As a newcomer finds them. The tests of each page look at what comes up in it."""
    watched = open_browser()
    watched.page.context.add_cookies([{"name": "llmasos_theme", "value": theme, "url": address}])
    for path in (*(page.path for page in PAGES if page.in_navigation), f"/runs/{finished}"):
        page = watched.open(path)
        page.get_by_role("heading", level=1).wait_for()
        assert grave_violations(page) == [], path
        policy = httpx.get(f"{address}/studio{path}").headers["content-security-policy"]
        assert "default-src 'self'" in policy and "http" not in policy


def test_language_and_theme_are_chosen_and_remembered(open_browser: Open) -> None:
    page = open_browser().open("/models")
    page.get_by_role("button", name="Language").click()
    page.get_by_text("中文").click()
    page.get_by_role("heading", name="模型", level=1).wait_for()
    page.get_by_role("button", name="主题").click()
    page.get_by_text("深色").click()
    page.wait_for_function("document.body.classList.contains('body--dark')")
    page.reload()
    page.get_by_role("heading", name="模型", level=1).wait_for()
    assert page.evaluate("document.body.classList.contains('body--dark')")


def test_a_model_is_found_and_read(open_browser: Open) -> None:
    page = open_browser().open("/models")
    page.get_by_label("Search").fill("no such model")
    page.get_by_text("Nothing in the library matches.").wait_for()
    page.get_by_label("Search").fill("smollm2:135m-ins")
    page.get_by_role("link", name=re.compile(MODEL)).click()
    page.get_by_role("heading", name=MODEL, level=1).wait_for()
    for text in ("Apache-2.0", "8,192 tokens", "model.safetensors"):
        assert page.get_by_text(text).first.is_visible()


def test_a_model_is_downloaded_and_removed(open_browser: Open) -> None:
    watched = open_browser()
    page = watched.open("/models")
    page.get_by_role("button", name="Download minilm:l6-v2").click()
    page.get_by_text("minilm:l6-v2 is here.").wait_for(timeout=120_000)
    page.get_by_role("link", name=re.compile("minilm:l6-v2")).click()
    page.get_by_role("button", name="Remove minilm:l6-v2").click()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Remove minilm:l6-v2").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    page.get_by_role("button", name="Download minilm:l6-v2").wait_for()


def test_a_conversation(open_browser: Open) -> None:
    page = open_browser().open("/playground")
    page.get_by_role("main").get_by_text("Settings").click()
    page.get_by_label("Temperature").fill("0")
    page.get_by_label("Message").fill("What is the capital of France?")
    page.get_by_role("button", name="Send").press("Enter")
    page.get_by_text(re.compile(r"\d+ tokens · ")).wait_for(timeout=60_000)
    assert "France" in page.locator(".said.assistant").inner_text()
    page.get_by_label("Message").fill("And of Italy?")
    page.get_by_label("Message").press("Enter")
    page.get_by_text(re.compile(r"\d+ tokens · ")).nth(1).wait_for(timeout=60_000)
    assert page.locator(".said.user").count() == page.locator(".said.assistant").count() == 2


def test_two_models_and_branches(open_browser: Open) -> None:
    page = open_browser().open("/playground")
    page.get_by_role("main").get_by_text("Settings").click()
    page.get_by_label("Temperature").fill("0")
    page.get_by_label("Most tokens").fill("5")
    page.get_by_label("Probabilities of tokens").click()
    page.get_by_label("Beside").click()
    page.get_by_role("option", name=MODEL).click()
    page.get_by_label("Message").fill("One?")
    page.get_by_role("button", name="Send").press("Enter")
    page.get_by_text(re.compile(r"\d+ tokens · ")).nth(1).wait_for(timeout=60_000)
    logs = page.get_by_role("log")
    answers = [logs.nth(number).locator(".said.assistant").inner_text() for number in range(2)]
    assert logs.count() == 2 and answers[0] == answers[1]
    assert "%" in (logs.nth(0).locator(".token").first.get_attribute("title") or "")
    first = logs.nth(0)
    first.get_by_role("button", name="Another answer").click()
    first.get_by_text("2/2").wait_for(timeout=60_000)
    first.get_by_role("button", name="Edit").click()
    page.get_by_role("dialog").get_by_label("Message").fill("Two?")
    page.get_by_role("button", name="Ask this instead").click()
    first.get_by_text("Two?").wait_for()
    first.get_by_text(re.compile(r"\d+ tokens · ")).wait_for(timeout=60_000)
    first.get_by_role("button", name="The one before").first.click()
    first.get_by_text("One?").wait_for()


def test_an_answer_has_the_form_that_is_asked_for(open_browser: Open) -> None:
    page = open_browser().open("/playground")
    page.get_by_role("main").get_by_text("Settings").click()
    page.get_by_label("Form of the answer").click()
    page.get_by_role("option", name="Regular expression").click()
    page.get_by_label("Schema or pattern").fill("(yes|no), [0-9]{3}")
    page.get_by_label("Message").fill("Is Paris in France?")
    page.get_by_role("button", name="Send").press("Enter")
    page.get_by_text(re.compile(r"\d+ tokens · ")).wait_for(timeout=60_000)
    assert re.fullmatch(r"(yes|no), [0-9]{3}", page.locator(".said.assistant").inner_text())
    page.get_by_role("button", name="As code").click()
    page.get_by_role("dialog").get_by_text("structured_outputs").first.wait_for()


def test_a_key_is_made_used_and_revoked(open_browser: Open, address: str) -> None:
    page = open_browser().open("/serve")
    page.get_by_role("heading", name=MODEL, level=3).wait_for()
    page.get_by_role("button", name="New key").click()
    page.get_by_role("dialog").get_by_label("Name").fill("a program")
    page.get_by_role("button", name="Make").click()
    secret = page.locator(".secret").inner_text()
    page.get_by_role("button", name="Close").click()
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}
    url = f"{address}/v1/chat/completions"
    answer = httpx.post(url, json=body, headers={"authorization": f"Bearer {secret}"}, timeout=60)
    assert answer.status_code == 200, answer.text
    page.get_by_role("button", name="Revoke a program").click()
    page.get_by_role("button", name="Revoke", exact=True).click()
    page.get_by_text("revoked").wait_for()


def test_an_answer_is_stopped(open_browser: Open) -> None:
    page = open_browser().open("/playground")
    page.get_by_role("main").get_by_text("Settings").click()
    page.get_by_label("Most tokens").fill("4000")
    page.get_by_label("Message").fill("Write a very long story about a ship.")
    page.get_by_role("button", name="Send").press("Enter")
    page.wait_for_function("document.querySelector('.said.assistant')?.textContent.length > 10", timeout=60_000)
    page.get_by_role("button", name="Stop").click()
    page.get_by_text(re.compile(r"\d+ tokens · ")).wait_for(timeout=60_000)
    assert page.get_by_role("button", name="Send").is_visible()
    assert page.get_by_text("unloaded").count() == 0


@pytest.mark.parametrize("text", [
    "<img src=x onerror=window.bad=1>", "<script>window.bad=1</script>", "<svg/onload=window.bad=1>",
    "[a](javascript:window.bad=1)", "{{constructor.constructor('window.bad=1')()}}", "</div><iframe srcdoc=x>",
])  # fmt: skip
def test_what_is_said_is_text(open_browser: Open, text: str) -> None:
    page = open_browser().open("/playground")
    page.get_by_role("main").get_by_text("Settings").click()
    page.get_by_label("Most tokens").fill("1")
    page.get_by_label("Message").fill(text)
    page.get_by_role("button", name="Send").press("Enter")
    page.get_by_text(re.compile(r"\d+ tokens · ")).wait_for(timeout=60_000)
    assert page.locator(".said.user").inner_text() == text
    assert page.evaluate("window.bad") is None


def test_a_run_is_followed_live(open_browser: Open, studio_home: Path, tmp_path: Path) -> None:
    build("llama", tmp_path / "model")
    write_texts(tmp_path / "texts.jsonl")
    recipe = {
        "kind": "pretrain", "name": "followed", "model": str(tmp_path / "model"),
        "method": {"kind": "full", "learning_rate": 0.01},
        "data": {"train": [{"path": str(tmp_path / "texts.jsonl")}], "validation_share": 0.2},
        "trainer": {"steps": 40, "batch_size": 4, "dtype": "float32", "threads": 1}, "evaluation": {"every": 10},
        "output": {"name": "test/followed"},
    }  # fmt: skip
    library = Library(studio_home)
    run = RunStore(library).create("pretrain", json.dumps(recipe), name="followed", recipe_folder=tmp_path)
    page = open_browser().open("/runs")
    page.get_by_role("link", name=re.compile("followed")).click()
    page.get_by_role("heading", name="followed", level=1).wait_for()
    page.get_by_text("succeeded", exact=True).wait_for(timeout=120_000)
    page.locator(".curves svg:not(.key) path").first.wait_for()
    assert page.get_by_text("test/followed").first.is_visible()
    assert not page.get_by_role("button", name="Stop").is_visible()
    assert Queue(RunStore(library), limit=1).store.get(run.id) is not None
    library.close()


def test_a_hostile_card_is_harmless(open_browser: Open, studio_home: Path) -> None:
    library = Library(studio_home)
    card = "# Nice\n\n<script>window.bad=1</script><img src=x onerror=window.bad=1>\n\n[go](javascript:window.bad=1)\n"
    with library.draft() as draft:
        draft.add_bytes("weights.txt", b"none")
        draft.publish(Reference.parse("hostile/card"), Metadata(), card=card)
    library.close()
    page = open_browser().open("/models/hostile~card:latest")
    page.get_by_role("heading", name="Nice").wait_for()
    page.get_by_text("go", exact=True).click()
    page.wait_for_timeout(500)
    assert page.evaluate("window.bad") is None
