"""The first steps on Home, and what the pages of models offer, by clicking in a real browser."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmasos.library.metadata import Lineage, LineageInput, Metadata
from llmasos.library.reference import Reference
from llmasos.library.store import Library
from studio.studio_server import Watched

sys.path.insert(0, str(Path(__file__).parents[1] / "standins"))

from standin_http import running
from standin_registry import RegistryStandIn

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

MODEL = "smollm2:135m-instruct"
Open = Callable[..., Watched]


@pytest.fixture
def library(studio_home: Path, address: str) -> Iterator[Library]:
    """The library of the running Studio."""
    opened = Library(studio_home)
    yield opened
    opened.close()


def publish(library: Library, name: str, files: dict[str, bytes], *inputs: tuple[str, str], **recipe: Any) -> str:
    used = [LineageInput(role=role, digest=library.digest_of(of), reference=of) for role, of in inputs]
    with library.draft() as draft:
        for path, data in files.items():
            draft.add_bytes(path, data)
        lineage = Lineage(step="train", inputs=used, recipe=recipe)
        return draft.publish(Reference.parse(name), Metadata(license="MIT"), lineage=lineage).digest


def test_one_click_trains_on_the_sample_data(open_browser: Open) -> None:
    """Its model is downloaded first."""
    page = open_browser().open("/")
    page.get_by_role("button", name="Fine-tune on the sample data").click()
    page.wait_for_url(re.compile("/runs/classify-"), timeout=120_000)
    page.locator(".curves svg:not(.key) path").first.wait_for(timeout=180_000)
    page.get_by_text("succeeded", exact=True).wait_for(timeout=180_000)
    page.get_by_text(re.compile(r"→ 0\.[89]\d*")).first.wait_for()


def test_one_click_evaluates(open_browser: Open) -> None:
    page = open_browser().open("/")
    page.get_by_role("button", name="Evaluate").click()
    page.wait_for_url(re.compile("/runs/evaluate-"))
    page.get_by_text("succeeded", exact=True).wait_for(timeout=180_000)


def test_one_click_leads_to_a_conversation(open_browser: Open) -> None:
    page = open_browser().open("/")
    page.get_by_role("heading", name="This machine").wait_for()
    page.get_by_text("everything runs on the processor").or_(page.get_by_text("GiB)")).first.wait_for()
    page.get_by_role("button", name="Talk").click()
    page.wait_for_url(re.compile("/playground"))
    page.get_by_label("Message").wait_for()


def test_the_lineage_is_walked(open_browser: Open, library: Library) -> None:
    publish(library, "walk/child", {"x": b"1"}, ("base", MODEL), learning_rate=0.125)
    publish(library, "walk/grandchild", {"x": b"2"}, ("base", "walk/child"))
    page = open_browser().open("/models/walk~child:latest")
    graph = page.get_by_role("group", name="Lineage")
    graph.get_by_role("link", name=re.compile(r"^walk.grandchild:latest · training · made from walk.child")).wait_for()
    page.get_by_role("button", name=re.compile("training · walk.child")).click()
    page.locator(".q-expansion-item").get_by_text("learning_rate").wait_for()
    graph.get_by_role("link", name=re.compile(f"^{MODEL}")).click()
    page.get_by_role("heading", name=MODEL, level=1).wait_for()
    page.get_by_role("group", name="Lineage").get_by_role("link", name=re.compile("^walk.child")).wait_for()


def test_an_older_version_is_restored(open_browser: Open, library: Library) -> None:
    first = publish(library, "old/model", {"x": b"old"}, epochs=1)
    publish(library, "old/model", {"x": b"new"}, epochs=2)
    page = open_browser().open("/models/old~model:latest")
    page.get_by_text("was latest").wait_for()
    page.get_by_role("button", name=f"Give {first[7:19]} a tag").click()
    page.get_by_role("dialog").get_by_label("Name and tag").fill("NOT A NAME")
    page.get_by_role("button", name="Set the tag").click()
    page.get_by_text(re.compile("is not a name|capital letters")).first.wait_for()
    page.get_by_role("button", name="Close").click()
    page.get_by_role("dialog").get_by_label("Name and tag").fill("old/model:latest")
    page.get_by_role("button", name="Set the tag").click()
    page.get_by_text(f"old/model:latest points at {first[7:19]}.").wait_for()
    assert library.digest_of("old/model") == first


def test_two_models_are_compared(open_browser: Open, library: Library) -> None:
    publish(library, "pair/a", {"same.txt": b"=", "a.json": b"{}"})
    publish(library, "pair/b", {"same.txt": b"=", "a.json": b"[]"})
    page = open_browser().open("/models/compare")
    page.get_by_label("First model").click()
    page.get_by_role("option", name="pair/a:latest").click()
    page.get_by_role("option").first.wait_for(state="hidden")  # both lists have the same names
    page.get_by_text("Choose two models.").wait_for()
    page.get_by_label("Second model").click()
    page.get_by_role("option", name="pair/b:latest").click()
    files = page.get_by_role("region", name="Files")
    files.get_by_role("rowheader", name="a.json").wait_for()
    assert files.get_by_role("rowheader", name="same.txt").count() == 0
    page.get_by_role("button", name="Swap").click()
    page.wait_for_url(re.compile("first=pair%2Fb"))


def test_a_file_is_looked_into(open_browser: Open, library: Library) -> None:
    publish(library, "look/model", {"notes.txt": b"<b>bold</b> & plain", "data.dat": b"a\0b"})
    page = open_browser().open("/models/look~model:latest")
    page.get_by_role("button", name="Look into notes.txt").click()
    page.get_by_role("dialog").get_by_text("<b>bold</b> & plain").wait_for()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.get_by_role("dialog").wait_for(state="detached")
    page.get_by_role("button", name="Look into data.dat").click()
    page.get_by_text("data.dat is not text").wait_for()


def test_a_model_is_pushed(open_browser: Open, library: Library) -> None:
    digest = publish(library, "push/model", {"weights.bin": b"w" * 200_000})
    page = open_browser().open("/models/push~model:latest")
    page.get_by_role("button", name="Push", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Place").fill("somewhere")
    dialog.get_by_role("button", name="Send").press("Enter")
    page.get_by_text("somewhere is not a place in a registry").wait_for()
    with running(RegistryStandIn()) as registry:
        dialog.get_by_label("Place").fill(f"oci:{registry.host}/models/mine:v1")
        dialog.get_by_role("button", name="Send").press("Enter")
        dialog.get_by_text(re.compile("pushed .*/models/mine:v1")).wait_for()
        assert registry.tags["models/mine"]["v1"] == digest


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_are_accessible(open_browser: Open, library: Library, address: str, theme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    publish(library, "axe/model", {"notes.txt": b"text", "weights.bin": b"1"}, ("base", MODEL))
    watched = open_browser()
    watched.page.context.add_cookies([{"name": "llmasos_theme", "value": theme, "url": address}])
    compared = f"/models/compare?first=axe%2Fmodel%3Alatest&second={MODEL.replace(':', '%3A')}"
    for path in ("/", "/models", "/models/axe~model:latest", compared):
        page = watched.open(path)
        settled(page)
        page.add_style_tag(content="* {transition: none !important; animation: none !important}")
        found = Axe().run(page).response["violations"]
        grave = [(item["id"], [node["html"] for node in item["nodes"]]) for item in found
                 if item["impact"] in ("serious", "critical")]  # fmt: skip
        assert grave == [], path


@pytest.mark.parametrize("width", [360, 1440])
def test_pages_fit_in_chinese(open_browser: Open, library: Library, width: int) -> None:
    publish(library, "fit/a-model-with-quite-a-long-name-indeed:and-a-long-tag", {"x": b"1"}, ("base", MODEL))
    watched = open_browser(language="zh", width=width)
    name = "fit~a-model-with-quite-a-long-name-indeed:and-a-long-tag"
    compared = (
        f"/models/compare?first={MODEL.replace(':', '%3A')}&second={name.replace('~', '%2F').replace(':', '%3A')}"
    )
    for path in ("/", "/models", f"/models/{name}", f"/models/{MODEL}", compared):
        page = watched.open(path)
        settled(page)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{path} is too wide"
    page.get_by_role("heading", name="张量").wait_for()


def settled(page: Any) -> None:
    """Wait until what a page fills in later is there."""
    page.get_by_role("heading", level=1).wait_for()
    page.wait_for_function("!document.querySelector('[aria-busy]')")
    page.wait_for_timeout(500)  # what fades in has no contrast yet
