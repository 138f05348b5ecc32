"""Training by clicking: from a table on the disk to a classifier that is tried, in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmasos.library import acquire
from llmasos.library.store import Library
from llmasos.runs.outcome import Outcome
from llmasos.runs.states import State
from llmasos.runs.store import RunStore
from studio.studio_server import Watched, studio
from tiny_models import build

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

Open = Callable[..., Watched]
PATIENCE = 600_000
"""Milliseconds for what computes in processes of its own, on a machine that has much else to do."""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty texts with a class each."""
    path = tmp_path_factory.mktemp("data") / "reviews.csv"
    rows = (f"this is a {'great' if number % 2 else 'terrible'} movie {number},{'good' if number % 2 else 'bad'}\n"
            for number in range(40))  # fmt: skip
    path.write_text("text,label\n" + "".join(rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def address(chromium: Any, studio_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running Studio with the default model and two tiny ones."""
    library = Library(studio_home)
    folder = tmp_path_factory.mktemp("tiny")
    for name, tiny in (("distilbert_classifier", "tiny-bert"), ("t5", "tiny-t5")):
        acquire.import_path(build(name, folder / name), name=tiny, library=library)
    library.close()
    with studio(studio_home) as found:
        yield found


def query(table: Path, model: str = "tiny-bert:latest") -> str:
    return f"/train?model={model}&data={table}"


def yaml_field(page: Any) -> Any:
    return page.get_by_role("textbox", name="Recipe as YAML")


def written(page: Any, text: str) -> None:
    """Wait until the YAML has a text."""
    page.wait_for_function("text => document.querySelector('.cm-content').textContent.includes(text)", arg=text)


def write(page: Any, old: str, new: str) -> None:
    """Change the YAML by hand."""
    field = yaml_field(page)
    field.wait_for()
    lines = page.evaluate("[...document.querySelectorAll('.cm-line')].map(line => line.textContent).join('\\n')")
    assert old in lines
    field.fill(lines.replace(old, new))


def test_a_classifier_is_trained_and_tried(open_browser: Open, table: Path) -> None:
    page = open_browser().open("/train?goal=classify")
    page.get_by_label("Model", exact=True).click()
    page.get_by_role("option", name=re.compile("tiny-bert")).click()
    page.get_by_label("or a path on this machine").fill(str(table))
    page.get_by_role("button", name="Use it").click()
    page.get_by_text("40 of 40 rows can be used").wait_for(timeout=PATIENCE)
    page.get_by_label("trainer.epochs").fill("2")
    page.get_by_label("output.name").fill("test/reviews")
    written(page, "epochs: 2")
    written(page, "test/reviews")
    page.get_by_role("button", name="Check", exact=True).click()
    page.get_by_text("It can be trained.").wait_for(timeout=PATIENCE)
    assert page.get_by_text("Memory at the highest point").is_visible()
    page.locator(".choice .memory", has_text=re.compile("memory .*iB")).first.wait_for(timeout=PATIENCE)
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text("succeeded", exact=True).wait_for(timeout=PATIENCE)
    page.locator(".curves svg:not(.key) path").first.wait_for()
    page.get_by_role("button", name="Try it").click()
    page.get_by_label("Text", exact=True).fill("this is a great movie")
    page.get_by_role("button", name="Classify").click()
    page.get_by_role("progressbar", name="good").wait_for()
    page.get_by_text(re.compile(r"\d+ tokens read")).wait_for()
    shares = [float(page.get_by_role("progressbar", name=name).get_attribute("aria-valuenow") or 0)
              for name in ("good", "bad")]  # fmt: skip
    assert abs(sum(shares) - 100) < 0.5


def test_form_and_yaml_follow_each_other(open_browser: Open, table: Path) -> None:
    page = open_browser().open(query(table))
    page.get_by_text("40 of 40 rows can be used").wait_for()
    page.get_by_role("button", name=re.compile("^lora")).click()
    written(page, "kind: lora")
    page.get_by_label("method.rank").fill("4")
    written(page, "rank: 4")
    write(page, "rank: 4", "rank: 32")
    page.wait_for_function("document.querySelector('[aria-label=\"method.rank\"]').value === '32'")
    write(page, "kind: lora, rank: 32", "kind: freeze, last_layers: 1")
    page.get_by_label("method.last_layers").wait_for()
    assert page.get_by_role("button", name=re.compile("^freeze")).get_attribute("aria-pressed") == "true"
    page.get_by_text("All options").click()
    page.get_by_text("What is measured during training.").click()
    page.get_by_label("evaluation.early_stopping", exact=True).click()
    page.get_by_label("evaluation.early_stopping.patience").fill("5")
    written(page, "patience: 5")


def test_an_invalid_yaml_tells_its_problems(open_browser: Open, table: Path) -> None:
    page = open_browser().open(query(table))
    page.get_by_text("40 of 40 rows can be used").wait_for()
    write(page, "epochs: 3", "epochs: three\n  batch_siz: 2")
    page.get_by_text("2 problem(s)", exact=True).wait_for()
    page.get_by_text(re.compile(r"YAML:\d+: trainer.batch_siz: unknown key")).wait_for()
    assert page.get_by_label("trainer.epochs").input_value() == "3"
    yaml_field(page).fill("kind: [")
    page.get_by_text(re.compile("YAML:1: not valid YAML")).wait_for()
    page.locator("[inert]").get_by_label("trainer.epochs").wait_for()
    yaml_field(page).fill("kind: classify\nmodel: tiny-bert\nlabel: [a]\nseed: -1")
    page.get_by_text("3 problem(s)", exact=True).wait_for()
    assert page.locator("[inert]").count() == 0
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text(re.compile("the recipe YAML has 3 problem")).wait_for()


def test_a_column_that_is_not_there_is_found_by_the_check(open_browser: Open, table: Path) -> None:
    page = open_browser().open(query(table))
    page.get_by_text("40 of 40 rows can be used").wait_for()
    written(page, "reviews.csv}")
    write(page, "reviews.csv}", "reviews.csv, layout: {kind: label, text: sentence}}")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text("1 problem(s) to solve first").wait_for(timeout=PATIENCE)
    assert page.get_by_text("sentence").count() > 0
    assert page.url.split("?")[0].endswith("/train")


def test_other_goals_have_other_models(open_browser: Open) -> None:
    page = open_browser().open("/train?goal=seq2seq")
    page.get_by_label("Model", exact=True).wait_for()
    assert "tiny-t5" in page.get_by_label("Model", exact=True).input_value()
    page.get_by_role("button", name=re.compile("From scratch")).click()
    written(page, "preset: llama-1m")
    assert page.get_by_role("button", name=re.compile("^lora")).count() == 0
    page.get_by_role("button", name=re.compile("Chat and instructions")).click()
    written(page, "model: smollm2:135m-instruct")


def test_a_model_that_rewrites_is_tried(open_browser: Open) -> None:
    page = open_browser().open("/models/tiny-t5:latest")
    page.get_by_label("Text", exact=True).fill("The house is wonderful.")
    page.get_by_role("button", name="Rewrite").click()
    page.locator(".said.assistant").wait_for()


@pytest.fixture
def two_runs(address: str, studio_home: Path) -> Iterator[None]:
    """Two finished runs with a curve each."""
    library = Library(studio_home)
    store = RunStore(library)
    for name, rate in (("slow", 1e-5), ("quick", 1e-3)):
        recipe = {"kind": "sft", "name": name, "method": {"kind": "lora", "learning_rate": rate}, "model": "a"}
        run = store.create("sft", json.dumps(recipe), name=name, background=False)
        claimed = store.claim(run.id)
        assert claimed is not None
        events = [{"time": step, "kind": "metric", "label": "train", "values": {"step": step, "loss": 3 - step * rate}}
                  for step in range(1, 6)]  # fmt: skip
        (store.folder(run) / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
        store.finish(claimed, Outcome(claimed.attempt, State.SUCCEEDED, result={"after": {"loss": rate}}))
    library.close()
    yield


def test_runs_are_compared(open_browser: Open, two_runs: None) -> None:
    page = open_browser().open("/runs")
    page.get_by_role("button", name="Compare runs").click()
    page.get_by_role("heading", name="Compare runs", level=1).wait_for()
    page.locator(".curves svg:not(.key) path").nth(1).wait_for()
    table = page.get_by_role("region", name="Settings that differ")
    assert table.get_by_text("method.learning_rate").is_visible()
    assert table.get_by_text("0.001").is_visible()
    assert not table.get_by_text("model", exact=True).is_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_are_accessible(open_browser: Open, address: str, table: Path, two_runs: None, theme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    watched = open_browser()
    watched.page.context.add_cookies([{"name": "llmasos_theme", "value": theme, "url": address}])
    for path in (query(table), "/runs/compare", "/models/tiny-t5:latest"):
        page = watched.open(path)
        page.get_by_role("heading", level=1).wait_for()
        if path.startswith("/train"):
            yaml_field(page).wait_for()
            page.get_by_text("40 of 40 rows can be used").wait_for()
            page.get_by_text("All options").click()
            page.get_by_text("How weights are changed.").click()
            page.get_by_label("optimizer.beta1").wait_for()
        page.add_style_tag(content="* {transition: none !important; animation: none !important}")
        page.wait_for_timeout(500)  # what fades in has no contrast yet
        found = Axe().run(page).response["violations"]
        grave = [(item["id"], [node["html"] for node in item["nodes"]]) for item in found
                 if item["impact"] in ("serious", "critical")]  # fmt: skip
        assert grave == [], path


def test_on_a_phone_and_in_chinese(open_browser: Open, table: Path, two_runs: None) -> None:
    watched = open_browser(language="zh", width=360)
    page = watched.open(query(table))
    page.get_by_role("heading", name="训练", level=1).wait_for()
    page.get_by_text("找到的列：text, label").wait_for()
    page.get_by_text("全部选项").click()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page = watched.open("/runs/compare")
    page.get_by_role("heading", name="不同的设置", level=2).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
