"""Saved conversations, adapters, sampling and downloads of the playground, in a real browser with a real model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import save

from llmasos.library.kind import Kind
from llmasos.library.metadata import Metadata
from llmasos.library.reference import Reference
from llmasos.library.store import Library
from studio.studio_server import Watched, studio

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

MODEL = "smollm2:135m-instruct"
ADAPTER = "test/gibberish:latest"
Open = Callable[..., Watched]
ANSWERED = re.compile(r"\d+ tokens · ")


def settings(page: Any, **numbers: float) -> None:
    page.get_by_role("main").get_by_text("Settings").click()
    for name, value in {"Temperature": 0, "Most tokens": 4, **numbers}.items():
        page.get_by_label(name, exact=True).fill(str(value))


def ask(page: Any, text: str, answers: int) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_role("button", name="Send").press("Enter")
    page.get_by_text(ANSWERED).nth(answers - 1).wait_for()


def saved(home: Path) -> list[dict[str, Any]]:
    found = (home / "conversations" / "owner").glob("*.json")
    return sorted((json.loads(path.read_text()) for path in found), key=lambda talk: talk["changed"])


@pytest.fixture(autouse=True)
def nothing_saved(studio_home: Path) -> Iterator[None]:
    yield
    for path in (studio_home / "conversations" / "owner").glob("*.json"):
        path.unlink()


def test_a_conversation_survives_a_reload_with_its_branches(open_browser: Open, studio_home: Path) -> None:
    page = open_browser().open("/playground")
    settings(page, **{"Top-k": 3})
    page.get_by_label("Probabilities of tokens").click()
    ask(page, "One?", 1)
    page.get_by_role("button", name="Another answer").click()
    page.get_by_text("2/2").wait_for()
    page.wait_for_url(re.compile(r"conversation=[0-9a-f]{16}$"))
    page.wait_for_function("document.querySelectorAll('.token').length > 0")
    page.reload()
    page.get_by_text("2/2").wait_for()
    assert page.get_by_role("heading", name="One?").count() == 0 and page.locator(".talk-name").inner_text() == "One?"
    assert "%" in (page.locator(".token").first.get_attribute("title") or "")
    page.get_by_role("main").get_by_text("Settings").click()
    assert page.get_by_label("Top-k").input_value() == "3" and page.get_by_label("Most tokens").input_value() == "4"
    ask(page, "Two?", 2)
    (talk,) = saved(studio_home)
    assert [item["text"] for item in talk["sides"][0]["messages"][1:] if item["role"] == "user"] == ["One?", "Two?"]
    assert talk["settings"]["top_k"] == 3 and talk["sides"][0]["model"] == MODEL


def test_conversations_are_listed_renamed_opened_and_deleted(open_browser: Open, studio_home: Path) -> None:
    page = open_browser().open("/playground")
    settings(page)
    ask(page, "First question", 1)
    page.get_by_role("button", name="Begin anew").click()
    page.get_by_text("Say something to begin.").wait_for()
    page.wait_for_url(re.compile("/playground$"))
    ask(page, "Second question", 1)
    page.get_by_role("button", name="Conversations").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Rename First question").click()
    page.get_by_label("Name", exact=True).fill("About <b>France</b>")
    page.get_by_role("button", name="Rename", exact=True).click()
    dialog.get_by_label("Search").fill("france")
    dialog.get_by_role("button", name="Delete Second question").wait_for(state="detached")
    dialog.locator("button.shelf-open", has_text="About <b>France</b>").click()
    page.locator(".said.user", has_text="First question").wait_for()
    assert page.locator(".talk-name").inner_text() == "About <b>France</b>"
    page.get_by_role("button", name="Conversations").click()
    page.get_by_role("button", name="Delete About <b>France</b>").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_text("Say something to begin.").wait_for()
    dialog.get_by_label("Search").fill("")
    dialog.get_by_text("Second question").wait_for()
    assert [talk["name"] for talk in saved(studio_home)] == ["Second question"]


def test_two_sides_are_kept_and_downloaded(open_browser: Open, tmp_path: Path) -> None:
    page = open_browser().open("/playground")
    settings(page, **{"Min-p": 0.1, "Repetition penalty": 1.2})
    page.get_by_label("Stop texts, one a line").fill("END\nSTOP")
    page.get_by_label("Beside").click()
    page.get_by_role("option", name=MODEL).click()
    ask(page, "Both?", 2)
    page.get_by_role("button", name="As code").click()
    page.get_by_role("dialog").get_by_text("extra_body").wait_for()
    code = page.get_by_role("dialog").inner_text()
    assert all(text in code for text in ("extra_body", "'min_p': 0.1", "'repetition_penalty': 1.2", "['END', 'STOP']"))
    page.get_by_role("button", name="Close").click()
    for form, ending in (("Markdown", "md"), ("JSON", "json")):
        page.get_by_role("button", name="Download").click()
        with page.expect_download() as download:
            page.get_by_text(re.compile(f"^{form}")).click()
        assert download.value.suggested_filename == f"Both.{ending}"
        download.value.save_as(tmp_path / f"talk.{ending}")
    assert "**You**\n\nBoth?" in (tmp_path / "talk.md").read_text()
    assert len(json.loads((tmp_path / "talk.json").read_text())["sides"]) == 2
    page.wait_for_url(re.compile("conversation="))
    page.reload()
    page.locator(".said.user").nth(1).wait_for()
    assert page.get_by_role("log").count() == 2


def test_a_conversation_that_is_gone_is_told(open_browser: Open) -> None:
    page = open_browser().open("/playground?conversation=0123456789abcdef")
    page.get_by_text("there is no conversation '0123456789abcdef'").wait_for()
    assert page.get_by_role("button", name="Send").is_visible()


def kill_the_server(home: Path) -> None:
    """As a machine that loses power does it."""
    for process in psutil.Process().children():
        if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("LLMASOS_HOME") == str(home):
            process.kill()
            process.wait(30)


def test_a_killed_server_loses_nothing(chromium: Any, address: str, studio_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.symlink_to(studio_home)  # the models are there
    page = chromium.new_page()
    page.set_default_timeout(60_000)
    with studio(home) as found:
        page.goto(f"{found}/studio/playground")
        page.get_by_role("main").wait_for()
        settings(page)
        ask(page, "Before the end?", 1)
        answer = page.locator(".said.assistant").inner_text()
        page.get_by_label("Most tokens").fill("3000")
        page.get_by_label("Message", exact=True).fill("Write a very long story.")
        page.get_by_role("button", name="Send").press("Enter")
        page.wait_for_function("document.querySelectorAll('.said.assistant')[1]?.textContent.length > 3")
        path = page.url.removeprefix(found)
        kill_the_server(home)
    page.goto("about:blank")
    with studio(home) as found:
        page.goto(found + path)
        page.locator(".said.user", has_text="Write a very long story.").wait_for()
        assert page.locator(".said.assistant").first.inner_text() == answer
        page.close()


def publish_adapter(home: Path) -> None:
    """A LoRA adapter that changes every answer."""
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 2, "bias": "none",
        "target_modules": ["o_proj"], "base_model_name_or_path": MODEL,
    }  # fmt: skip
    torch.manual_seed(1)
    tensors = {
        f"base_model.model.model.layers.{layer}.self_attn.o_proj.lora_{name}.weight": torch.randn(shape)
        for layer in range(30)
        for name, shape in (("A", (2, 576)), ("B", (576, 2)))
    }
    library = Library(home)
    with library.draft() as draft:
        draft.add_bytes("adapter_config.json", json.dumps(config).encode())
        draft.add_bytes("adapter_model.safetensors", save(tensors))
        metadata = Metadata(kind=Kind.ADAPTER, base=library.resolve(MODEL).digest)
        draft.publish(Reference.parse(ADAPTER), metadata)
    library.close()


def test_an_adapter_is_chosen_and_kept(open_browser: Open, studio_home: Path) -> None:
    publish_adapter(studio_home)
    page = open_browser().open("/playground")
    settings(page)
    ask(page, "What is the capital of France?", 1)
    plain = page.locator(".said.assistant").inner_text()
    page.get_by_role("combobox", name="Adapter").first.click()
    page.get_by_role("option", name=ADAPTER).click()
    page.get_by_role("log", name=ADAPTER).wait_for()
    page.get_by_role("button", name="Another answer").click()
    page.get_by_text("2/2").wait_for()
    page.get_by_text(ANSWERED).wait_for()
    assert page.locator(".said.assistant").inner_text() != plain
    page.reload()
    page.get_by_role("log", name=ADAPTER).wait_for()
    page.goto(page.url.partition("/playground")[0] + "/explain?model=" + ADAPTER)
    page.get_by_label("Text", exact=True).fill("The capital of France is Paris.")
    page.get_by_role("button", name="Explain", exact=True).click()
    page.locator("table.lens").wait_for()
    value = page.get_by_text(re.compile(r"perplexity [\d,]+")).inner_text()
    assert float(value.split()[-1].replace(",", "")) > 100  # 12.8 without the adapter


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_playground_is_accessible(open_browser: Open, address: str, theme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    watched = open_browser()
    watched.page.context.add_cookies([{"name": "llmasos_theme", "value": theme, "url": address}])
    page = watched.open("/playground")
    # axe takes the backdrop, which lies behind a dialog, for the ground that the dialog's buttons stand on.
    page.add_style_tag(content=".q-dialog__backdrop {display: none} * {transition: none !important}")
    page.add_style_tag(content="* {animation: none !important}")
    settings(page)
    ask(page, "Accessible?", 1)
    for opened in (False, True):
        if opened:
            page.get_by_role("button", name="Conversations").click()
            page.locator("button.shelf-open", has_text="Accessible?").wait_for()
        page.wait_for_function("""!document.querySelector('[class*="enter-active"], [class*="enter-from"]')""")
        found = Axe().run(page).response["violations"]
        grave = [(item["id"], [node["html"] for node in item["nodes"]]) for item in found
                 if item["impact"] in ("serious", "critical")]  # fmt: skip
        assert grave == []


def test_on_a_phone_in_chinese(open_browser: Open) -> None:
    page = open_browser(language="zh", width=360).open("/playground")
    page.get_by_role("main").get_by_text("设置", exact=True).click()
    page.get_by_label("最多词元数").fill("2")
    page.get_by_label("消息", exact=True).fill("你好？")
    page.get_by_role("button", name="发送").click()
    page.get_by_text("个词元 · ").wait_for()
    page.get_by_role("button", name="对话", exact=True).click()
    page.get_by_role("button", name="重命名 你好？").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
