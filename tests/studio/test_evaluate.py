"""Models are measured, looked into and compared by clicking, in a real browser with the real small model."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmasos.evaluation.finished import key_of
from llmasos.evaluation.records import Status
from llmasos.evaluation.result import Evaluation
from score_records import answered, record, write_run
from studio.studio_server import Watched

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

MODEL = "smollm2:135m-instruct"
HOSTILE = (
    "<img src=x onerror=window.bad=1><script>window.bad=1</script>\"'>{{constructor.constructor('window.bad=1')()}}"
)
Open = Callable[..., Watched]


@pytest.fixture(scope="module")
def measured(address: str, studio_home: Path) -> dict[str, Evaluation]:
    """Evaluations of two models on one task, and of one whose every text is hostile."""
    place = studio_home / "evaluations"
    right = [index % 3 != 0 for index in range(25)]
    first = write_run(place / "first", answered(right, task="quiz"), ["accuracy"], model="first-model", task="quiz")
    second = write_run(
        place / "second", answered([one or index < 20 for index, one in enumerate(right)], task="quiz"), ["accuracy"],
        model="second-model", task="quiz",
    )  # fmt: skip
    texts = [
        record(0, prompt=f"<|im_start|>{HOSTILE}<|im_end|>", output=HOSTILE, parsed=HOSTILE, references=(HOSTILE,),
               status=Status.UNPARSED, details={HOSTILE: HOSTILE}, choice_logprobs=(-1.0, -2.0), target=1,
               latency_seconds=0.5),
        record(1, prompt="\u202eevil", output="", error=HOSTILE, status=Status.ERROR),
    ]  # fmt: skip
    hostile = write_run(
        place / "hostile", texts, ["accuracy"], model=HOSTILE, task="hostile", notes=(HOSTILE,),
        settings={"few_shot": HOSTILE},
    )  # fmt: skip
    return {"first": first, "second": second, "hostile": hostile}


def choose_task(page: Any, name: str, title: str) -> None:
    page.get_by_label("Search tasks").fill(name)
    page.get_by_role("checkbox", name=title, exact=True).click()


def test_a_model_is_measured_watched_and_looked_into(open_browser: Open) -> None:
    page = open_browser().open(f"/evaluate?model={MODEL}")
    choose_task(page, "arc-easy", "ARC, easy set")
    choose_task(page, "gsm8k", "GSM8K")
    page.get_by_label("Samples, at most").fill("4")
    page.get_by_label("Most tokens").fill("8")
    page.get_by_text(f"{MODEL} on arc-easy, gsm8k").wait_for()
    page.get_by_role("button", name="Start").click()
    page.get_by_text("It is begun, and goes on when this page is closed.").wait_for()
    page.get_by_role("progressbar").wait_for()
    page.get_by_text("succeeded", exact=True).wait_for(timeout=120_000)
    page.get_by_role("link", name=re.compile("gsm8k")).click()
    page.get_by_role("heading", name="gsm8k", level=1).wait_for()
    page.get_by_text("1 to 4 of 4").wait_for()
    page.locator(".sample .q-item").first.click()
    page.get_by_text(re.compile(r"Prompt as sent \(\d+ tokens\)")).wait_for()
    assert page.locator(".piece.template").first.inner_text() == "<|im_start|>"
    page.get_by_role("navigation", name="Evaluation").get_by_role("link", name="Leaderboard").click()
    row = page.get_by_role("row").filter(has_text=MODEL)
    row.wait_for()
    assert row.get_by_role("link").count() == 2
    row.get_by_role("link").first.click()
    page.get_by_role("heading", name="arc-easy", level=1).wait_for()
    page.locator(".sample .q-item").first.click()
    page.get_by_text("Log-probabilities of the choices").wait_for()


def test_a_stopped_evaluation_goes_on(open_browser: Open) -> None:
    page = open_browser().open("/evaluate")
    choose_task(page, "csl", "CSL, titles")
    page.get_by_label("Most tokens").fill("4")
    page.get_by_role("button", name="Start").click()
    card = page.locator("section.card").filter(has_text=re.compile("csl.*Details", re.DOTALL)).last
    card.get_by_text("running", exact=True).wait_for(timeout=60_000)
    card.get_by_role("button", name="Stop").click()
    card.get_by_text("cancelled", exact=True).wait_for(timeout=60_000)
    page.reload()
    card.get_by_role("button", name="Go on").click()
    card.get_by_text("succeeded", exact=True).wait_for(timeout=120_000)
    card.get_by_role("link", name=re.compile("csl")).wait_for()


def test_what_a_run_needs_is_asked_before_it_starts(open_browser: Open) -> None:
    page = open_browser().open("/evaluate")
    assert page.get_by_role("button", name="Start").is_disabled()
    choose_task(page, "gsm8k", "GSM8K")
    page.get_by_role("button", name="About gsm8k").click()
    page.get_by_role("dialog").get_by_text("Cobbe et al.").wait_for()
    page.get_by_role("button", name="Close").click()
    page.get_by_role("dialog").wait_for(state="detached")
    page.get_by_text("The tasks' own data").click()
    page.get_by_role("button", name="Start").click()
    page.get_by_role("dialog").get_by_text("raw.githubusercontent.com").first.wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").wait_for(state="detached")
    page.get_by_label("Folder with the data").fill("/no/such/folder")
    page.get_by_role("button", name="Start").click()
    page.get_by_text("there is no folder /no/such/folder").wait_for()


def test_a_task_of_ones_own(open_browser: Open, studio_home: Path) -> None:
    page = open_browser().open("/evaluate")
    page.get_by_role("button", name="Add a task of your own").click()
    dialog = page.get_by_role("dialog")
    text = dialog.get_by_label("The task as YAML")
    good = text.input_value()
    text.fill(good.replace("kind: generation", "kind: generatoin"))
    dialog.get_by_role("button", name="Save").click()
    dialog.get_by_text("did you mean generation?").wait_for()
    text.fill(good)
    dialog.get_by_role("button", name="Save").click()
    box = page.get_by_role("checkbox", name="My questions")
    box.wait_for()
    assert box.is_checked() and (studio_home / "tasks" / "my-questions.yaml").is_file()
    page.get_by_role("button", name="Start").click()
    page.get_by_text("the task my-questions has no sample").wait_for()
    page.get_by_role("button", name="About my-questions").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    question = page.get_by_role("dialog").filter(has_text="Remove my-questions?")
    question.get_by_role("button", name="Remove").click()
    box.wait_for(state="detached")


def test_samples_are_filtered_searched_and_turned_over(open_browser: Open, measured: dict[str, Evaluation]) -> None:
    page = open_browser().open(f"/evaluate/results/{key_of(measured['first'])}")
    page.get_by_text("1 to 10 of 25").wait_for()
    page.get_by_role("button", name="Further samples").click()
    page.get_by_role("button", name="Further samples").click()
    page.get_by_text("21 to 25 of 25").wait_for()
    assert page.get_by_role("button", name="Further samples").is_disabled()
    page.get_by_role("radio", name="wrong 9").click()
    page.get_by_text("1 to 9 of 9").wait_for()
    assert page.locator(".sample .pill").all_inner_texts() == ["wrong"] * 9
    page.get_by_label("Search the samples").fill("ANSWER 24")
    page.get_by_text("1 to 1 of 1").wait_for()
    page.get_by_label("Search the samples").fill("no such text")
    page.get_by_text("No sample is like that.").wait_for()


def test_the_leaderboard_is_sorted_and_filtered(open_browser: Open, measured: dict[str, Evaluation]) -> None:
    page = open_browser().open("/evaluate/leaderboard")
    page.get_by_label("Task").click()
    page.get_by_role("option", name="quiz").click()
    heads = page.locator(".board th[scope=row]")
    page.wait_for_function("document.querySelectorAll('.board th[scope=row]').length === 2")
    assert heads.all_inner_texts() == ["second-model", "first-model"]
    page.get_by_role("button", name="quiz").click()
    page.wait_for_function("document.querySelector('.board th[scope=row]').innerText === 'first-model'")
    assert page.get_by_role("columnheader", name="quiz").get_attribute("aria-sort") == "ascending"
    assert page.get_by_role("img", name=re.compile(r"0\.9200 \[0\.\d+, 0\.\d+\]")).count() == 1
    page.get_by_label("Search models").fill("second")
    page.wait_for_function("document.querySelectorAll('.board th[scope=row]').length === 1")


def test_two_models_are_compared_sample_by_sample(open_browser: Open, measured: dict[str, Evaluation]) -> None:
    page = open_browser().open("/evaluate/leaderboard")
    page.get_by_role("button", name="quiz").click()
    page.get_by_role("link", name="Compare the first two").click()
    page.get_by_text("first-model is worse").wait_for()
    page.get_by_text("On 0 samples the second is better, on 7 worse, on 18 the same.").wait_for()
    page.get_by_text("mcnemar-mid-p").wait_for()
    page.get_by_text("1 to 7 of 7").wait_for()
    assert page.locator(".sample").first.locator(".pill").all_inner_texts() == ["correct", "wrong"]
    page.locator(".sample .q-item").first.click()
    page.get_by_role("heading", name="first-model", exact=True).wait_for()
    page.get_by_role("radio", name="all 25").click()
    page.get_by_text("1 to 10 of 25").wait_for()


def test_a_hostile_sample_is_harmless(open_browser: Open, address: str, measured: dict[str, Evaluation]) -> None:
    page = open_browser().open(f"/evaluate/results/{key_of(measured['hostile'])}")
    page.get_by_text("1 to 2 of 2").wait_for()
    for place in range(2):
        page.locator(".sample .q-item").nth(place).click()
    page.get_by_role("heading", name="Error").wait_for()
    output = page.get_by_role("group", name="Output", exact=True).first
    output.wait_for()
    assert output.inner_text() == HOSTILE
    assert page.locator(".piece.hidden").first.inner_text() == "U+202E"
    page.get_by_label("Search the samples").fill("<img src=x")
    page.get_by_text("1 to 2 of 2").wait_for()
    page.get_by_role("tab", name="Report").click()
    frame = page.frame_locator("iframe")
    frame.get_by_role("heading", name="hostile").wait_for()
    assert frame.get_by_text("<script>").first.is_visible()
    assert page.evaluate("window.bad") is None
    page.goto(f"{address}/studio/evaluate/leaderboard")
    page.get_by_text("<img src=x").first.wait_for()
    assert page.evaluate("window.bad") is None and page.locator("#main img").count() == 0
    page.get_by_role("navigation", name="Evaluation").get_by_role("link", name="Comparison").click()
    page.get_by_label("Task").click()
    page.get_by_role("option", name="hostile").click()
    page.get_by_text("A comparison needs two evaluations").wait_for()
    page.get_by_text("<img src=x").first.wait_for()
    assert page.evaluate("window.bad") is None and page.locator("#main img").count() == 0


def test_files_are_had_and_a_report_may_run_nothing(address: str, measured: dict[str, Evaluation]) -> None:
    place = f"{address}/studio/evaluate/files/{key_of(measured['hostile'])}"
    report = httpx.get(f"{place}/report.html?scheme=dark")
    (policy,) = report.headers.get_list("content-security-policy")
    assert policy.startswith("sandbox; default-src 'none'") and "content-disposition" not in report.headers
    assert report.headers["x-content-type-options"] == "nosniff"
    assert "<script>window.bad" not in report.text and "&lt;script&gt;" in report.text
    for name in ("report.html?download=1", "report.md", "scores.csv", "evaluation.json", "samples.parquet"):
        found = httpx.get(f"{place}/{name}")
        assert found.status_code == 200 and "attachment" in found.headers["content-disposition"], name
        assert len(found.content) > 100
    assert httpx.get(f"{place}/evaluation.json").json()["task"] == "hostile"
    assert httpx.get(f"{place}/../../../etc/passwd").status_code == 404
    assert httpx.get(f"{place}/journal-00000.jsonl").status_code == 404
    assert httpx.get(f"{address}/studio/evaluate/files/none/report.html").status_code == 404
    assert httpx.get(f"{place}/report.html", headers={"origin": "https://example.org"}).status_code == 403


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_are_accessible(
    open_browser: Open, address: str, measured: dict[str, Evaluation], theme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    watched = open_browser()
    watched.page.context.add_cookies([{"name": "llmasos_theme", "value": theme, "url": address}])
    first, second = key_of(measured["first"]), key_of(measured["second"])
    places = {
        "/evaluate": ".task-row", "/evaluate/leaderboard": ".board",
        f"/evaluate/compare?first={first}&second={second}": ".sample", f"/evaluate/results/{first}": ".sample",
    }  # fmt: skip
    for path, sign in places.items():
        page = watched.open(path)
        page.locator(sign).first.wait_for()
        if sign == ".sample":
            page.locator(".sample .q-item").first.click()
            page.get_by_text("Prompt as sent").first.wait_for()
        page.add_style_tag(content="* {transition: none !important; animation: none !important}")
        page.wait_for_function("document.getAnimations().length === 0")
        found = Axe().run(page).response["violations"]
        grave = [(item["id"], [node["html"] for node in item["nodes"]]) for item in found
                 if item["impact"] in ("serious", "critical")]  # fmt: skip
        assert grave == [], path


def test_the_pages_fit_a_phone_and_speak_chinese(open_browser: Open, measured: dict[str, Evaluation]) -> None:
    watched = open_browser(language="zh", width=360)
    first, second = key_of(measured["first"]), key_of(measured["second"])
    for path, sign, title in (
        ("/evaluate", ".task-row", "评测"), ("/evaluate/leaderboard", ".board", "排行榜"),
        (f"/evaluate/compare?first={first}&second={second}", ".sample", "比较"),
        (f"/evaluate/results/{first}", ".sample", "quiz"),
    ):  # fmt: skip
        page = watched.open(path)
        page.locator(sign).first.wait_for()
        page.get_by_role("heading", name=title, level=1).wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{path} is too wide"
    page.get_by_text("第 1 至 10 个，共 25 个").wait_for()
    page.get_by_role("tab", name="报告").click()
    page.frame_locator("iframe").get_by_text("混淆矩阵").or_(
        page.frame_locator("iframe").get_by_role("heading", name="样本")
    ).first.wait_for()
