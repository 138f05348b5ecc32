"""The way of a newcomer from an empty machine to a classifier of their own that a program asks, all by clicking."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmasos.i18n import speaking, t
from studio.studio_server import Watched, studio

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

PATIENCE = 400_000
MODEL = "smollm2:135m-instruct"
ENCODER = "minilm:l6-v2"
CLASSIFIER = "my/reviews"
TEXTS = {
    "en": [("What a great film {}!", "good"), ("A terrible waste of time {}.", "bad")],
    "zh": [("这部电影很好看，值得推荐{}。", "好评"), ("太无聊了，浪费时间{}。", "差评")],
}
"""What is said and its class, by language."""


@pytest.fixture(params=["en", "zh"])
def newcomer(request: pytest.FixtureRequest, chromium: Any, tmp_path: Path) -> Iterator[Watched]:
    """A browser in front of a Studio that was never used, and this test speaks the language of that browser."""
    language = str(request.param)
    with studio(tmp_path / "home") as address, speaking(language):
        context = chromium.new_context(viewport={"width": 1440, "height": 900}, locale=language)
        context.set_default_timeout(PATIENCE)
        watched = Watched(context.new_page(), address)
        yield watched
        context.close()
        assert watched.problems == []


def go_to(page: Any, name: str) -> None:
    """By the navigation."""
    page.get_by_role("navigation", name=t("Navigation")).get_by_role("link", name=name, exact=True).click()
    page.wait_for_function("name => document.title.startsWith(name)", arg=name)


def button(page: Any, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def table(folder: Path) -> tuple[Path, str, set[str]]:
    """A table of forty texts, a text like those, and the classes."""
    texts = TEXTS["zh" if t("Train") != "Train" else "en"]
    lines = [f'"{text.format(number)}",{label}' for number in range(20) for text, label in texts]
    path = folder / "reviews.csv"
    path.write_text("\n".join(["text,label", *lines, ""]), encoding="utf-8")
    return path, texts[0][0].format(99), {label for _, label in texts}


def test_from_nothing_to_a_classifier_that_programs_ask(newcomer: Watched, tmp_path: Path) -> None:
    path, text, labels = table(tmp_path)
    page = newcomer.open("/")
    page.get_by_role("heading", name=t("Welcome"), level=1).wait_for()
    # Pulls a model.
    go_to(page, t("Models"))
    button(page, t("Download {name}", name=ENCODER)).click()
    page.get_by_text(t("{name} is here.", name=ENCODER)).wait_for()
    # Chats, as soon as the model that comes by itself is there.
    go_to(page, t("Home"))
    page.get_by_role("main").get_by_text(t("in service")).first.wait_for()
    go_to(page, t("Playground"))
    page.get_by_role("main").get_by_text(t("Settings")).click()
    page.get_by_label(t("Most tokens")).fill("8")
    page.get_by_label(t("Message")).fill("What is the capital of France?")
    button(page, t("Send")).press("Enter")
    button(page, t("Another answer")).wait_for()
    assert page.locator(".said.assistant").inner_text().strip()
    # Sends a table and looks at it.
    go_to(page, t("Data"))
    with page.expect_file_chooser() as chooser:
        button(page, t("Choose files")).click()
    chooser.value.set_files(str(path))
    page.get_by_role("heading", name=path.name, level=1).wait_for()
    page.get_by_text(t("{good} of {count} rows can be used", good=40, count=40)).wait_for()
    # Fine-tunes a classifier on it, and watches.
    button(page, t("Train on {name}", name=path.name)).click()
    page.get_by_role("heading", name=t("Train"), level=1).wait_for()
    page.get_by_text(t("{good} of {count} rows can be used", good=40, count=40)).wait_for()
    page.get_by_label(t("Model"), exact=True).click()
    page.get_by_role("option", name=re.compile(ENCODER)).click()
    page.get_by_label("trainer.epochs").fill("2")
    page.get_by_label("output.name").fill(CLASSIFIER)
    written = page.locator(".cm-content")
    for line in ("epochs: 2", f"name: {CLASSIFIER}", ENCODER):
        written.get_by_text(line).first.wait_for()
    button(page, t("Start")).click()
    page.get_by_role("heading", name=t("Curves")).wait_for()
    page.locator(".curves svg:not(.key) path").first.wait_for()
    page.get_by_text(t("succeeded"), exact=True).wait_for()
    # Tries it.
    button(page, t("Try it")).click()
    page.get_by_label(t("Text"), exact=True).fill(text)
    button(page, t("Classify")).click()
    for label in labels:
        page.get_by_role("progressbar", name=label, exact=True).wait_for()
    # Measures a model.
    go_to(page, t("Evaluate"))
    page.get_by_label(t("Search tasks")).fill("arc-easy")
    page.get_by_role("checkbox", name="ARC, easy set", exact=True).click()
    page.get_by_label(t("Samples, at most")).fill("2")
    page.get_by_text(t("{models} on {tasks}", models=MODEL, tasks="arc-easy")).wait_for()
    button(page, t("Start")).click()
    page.get_by_text(t("succeeded"), exact=True).wait_for()
    page.get_by_role("link", name=re.compile("arc-easy")).first.click()
    page.get_by_role("heading", name="arc-easy", level=1).wait_for()
    # Serves the classifier, and lets a program ask it with a key.
    go_to(page, t("Serving"))
    page.get_by_label(t("Model"), exact=True).click()
    page.get_by_role("option", name=CLASSIFIER).click()
    button(page, t("Load")).click()
    page.get_by_role("heading", name=CLASSIFIER, level=3).wait_for()
    button(page, t("New key")).click()
    page.get_by_role("dialog").get_by_label(t("Name")).fill("program")
    button(page, t("Make")).click()
    secret = page.locator(".secret").inner_text()
    button(page, t("Close")).click()
    url, body = f"{newcomer.address}/v1/classify", {"model": CLASSIFIER, "input": text}
    assert httpx.post(url, json=body).status_code == 401
    answer = httpx.post(url, json=body, headers={"authorization": f"Bearer {secret}"}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"][0]["label"] in labels
