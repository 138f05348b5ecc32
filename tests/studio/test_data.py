"""The pages about data, in a real browser: send, look, say what columns mean, prepare, see the report."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from studio.studio_server import Watched

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

Open = Callable[..., Watched]
HOSTILE = (
    "<img src=x onerror=window.bad=1>", "<script>window.bad=1</script>", "</td></table><svg/onload=window.bad=1>",
    "{{constructor.constructor('window.bad=1')()}}", "[a](javascript:window.bad=1)",
    "</style><script>window.bad=1</script>",
)  # fmt: skip


def reviews(folder: Path, *, name: str = "reviews.csv") -> Path:
    """A table whose columns no rule knows, with a duplicate, a broken line, a long text and hostile texts."""
    lines = [f'"Film {number} was <b>{"great" if number % 2 else "awful"}</b>.",{"good" if number % 2 else "bad"}'
             for number in range(30)]  # fmt: skip
    hostile = ['"{}",good'.format(text.replace('"', '""')) for text in HOSTILE]
    long = '"{}",bad'.format("A very long review. " * 60)
    path = folder / name
    path.write_text("\n".join(["said,verdict", *hostile, *lines, lines[0], "broken", long, ""]), encoding="utf-8")
    return path


def send(page: Any, path: Path, button: str = "Choose files") -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=button).click()
    chooser.value.set_files(str(path))


def look(page: Any, address: str, data: str) -> None:
    page.goto(f"{address}/studio/data/look?data={quote(data, safe='')}")
    page.get_by_role("heading", name="Rows", exact=True).wait_for()


def test_a_table_is_sent_understood_prepared_and_reported(
    open_browser: Open, tmp_path: Path, studio_home: Path
) -> None:
    page = open_browser().open("/data")
    page.get_by_text("No file has been sent yet.").wait_for()
    send(page, reviews(tmp_path))
    page.get_by_role("heading", name="reviews.csv", level=1).wait_for()
    assert (studio_home / "uploads" / "data" / "reviews.csv").exists()
    # Rows as they stand in the file, hostile ones as text; nothing is cut without a word.
    rows = page.get_by_role("region", name="Rows", exact=True)
    for text in HOSTILE:
        rows.get_by_text(text, exact=True).wait_for()
    page.get_by_role("button", name="Rows after").click()
    page.get_by_text("rows 11 to 20").wait_for()
    page.get_by_label("Go to row").fill("38")
    page.get_by_label("Go to row").press("Enter")
    page.get_by_text("cannot be read: wrong number of columns").wait_for()
    rows.get_by_role("button", name=re.compile("Row 39, said: … .* more characters")).click()
    whole = page.get_by_role("dialog").get_by_role("region")
    assert whole.inner_text().strip() == ("A very long review. " * 60).strip()
    page.get_by_role("button", name="Close").click()
    # What the columns mean.
    page.get_by_text("It is not clear from the names of the columns.").wait_for()
    page.get_by_label("What the rows are").click()
    page.get_by_role("option", name="Texts with classes").click()
    page.get_by_text("38 of 39 rows can be used").wait_for()
    page.get_by_label("Text", exact=True).click()
    page.get_by_role("option", name="verdict").click()
    page.get_by_text("Columns that are not used: said").wait_for()
    page.get_by_label("Text", exact=True).click()
    page.get_by_role("option", name="said").click()
    page.get_by_text("class good").first.wait_for()
    # As a model sees it, with what would be left out.
    page.get_by_label("Most tokens of a row").fill("40")
    page.get_by_text("1 left out").wait_for()
    page.get_by_label("Rows that are longer").click()
    page.get_by_role("option", name="cut them").click()
    page.get_by_text("1 cut", exact=True).wait_for()
    # The recipe, its steps on the first rows, the run, the report.
    page.get_by_role("button", name="Prepare reviews.csv").click()
    page.get_by_role("heading", name="Prepare reviews.csv", level=1).wait_for()
    page.get_by_text("exact duplicate: 1").wait_for()
    page.get_by_role("button", name="Add a step").click()
    page.get_by_role("dialog").get_by_label("Search").fill("html")
    page.get_by_role("button", name="Add remove_html").click()
    page.get_by_text("The recipe has changed since. Try it again.").wait_for()
    page.get_by_role("button", name="Earlier: remove_html").click()
    page.get_by_text("3. remove_html").wait_for()
    page.get_by_role("button", name="Try on the first").click()
    page.get_by_text("These are all rows.").wait_for()
    page.get_by_role("button", name="Start").click()
    page.get_by_text("succeeded", exact=True).wait_for(timeout=120_000)
    page.get_by_role("heading", name="What happened to the rows").wait_for()
    assert page.locator(".report").get_by_text("<b>").first.is_visible()
    page.get_by_role("link", name="To the data set my/reviews:latest").click()
    page.get_by_role("heading", name="my/reviews:latest", level=1).wait_for()
    page.get_by_role("heading", name="What happened to the rows").wait_for()
    assert page.evaluate("window.bad") is None
    # It is in the list, and goes after a question.
    page.get_by_role("navigation").get_by_role("link", name="Data", exact=True).click()
    page.get_by_text("39 rows").wait_for()
    assert page.get_by_role("link", name="my/reviews:latest").is_visible()
    assert page.get_by_role("button", name="Train on my/reviews:latest").is_visible()
    for name in ("my/reviews:latest", "reviews.csv"):
        page.get_by_role("button", name=f"Remove {name}", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="Remove", exact=True).click()
        page.get_by_role("link", name=name, exact=True).wait_for(state="detached")
    assert not (studio_home / "uploads" / "data" / "reviews.csv").exists()


def test_in_chinese(open_browser: Open, tmp_path: Path, studio_home: Path) -> None:
    path = tmp_path / "影评 数据.csv"
    lines = [f"这部电影第{number}集{'值得推荐' if number % 2 else '浪费时间'}。,{'好评' if number % 2 else '差评'}"
             for number in range(20)]  # fmt: skip
    path.write_text("\n".join(["text,label", *lines, ""]), encoding="gb18030")
    page = open_browser(language="zh").open("/data")
    send(page, path, "选择文件")
    page.get_by_role("heading", name="影评 数据.csv", level=1).wait_for()
    page.get_by_text("20 行中有 20 行可用").wait_for()
    page.get_by_text("gb18030").wait_for()
    page.get_by_text("类别 差评").first.wait_for()
    page.get_by_role("button", name="准备 影评 数据.csv").click()
    page.get_by_text("这是全部的行。").wait_for()
    page.get_by_role("button", name="开始").click()
    page.get_by_role("heading", name="各行的去向").or_(page.get_by_role("heading", name="报告")).first.wait_for(
        timeout=120_000
    )
    assert page.locator(".report").get_by_text("好评").first.is_visible()


def test_data_on_this_machine_are_pointed_to(open_browser: Open, tmp_path: Path) -> None:
    page = open_browser().open("/data")
    page.get_by_label("File, folder or pattern").fill(str(tmp_path / "missing.csv"))
    page.get_by_label("File, folder or pattern").press("Enter")
    page.get_by_text(re.compile("there is no file .*missing.csv")).wait_for()
    (tmp_path / "a.jsonl").write_text('{"prompt": "1+1?", "completion": "2"}\n' * 3)
    (tmp_path / "notes.xyz").write_text("?")
    page.get_by_label("File, folder or pattern").fill(str(tmp_path))
    page.get_by_role("button", name="Look at it").click()
    page.get_by_text("Recognised as prompt and completion.").wait_for()
    page.get_by_text("Files of unknown format, left out: notes.xyz").wait_for()
    page.get_by_text("3 of 3 rows can be used").wait_for()
    page.locator(".token-preview .learned").first.wait_for()
    assert page.get_by_role("button", name="Remove").count() == 0


def test_what_is_no_data_is_refused_before_it_is_sent(open_browser: Open, tmp_path: Path) -> None:
    program = tmp_path / "program.exe"
    program.write_bytes(b"MZ")
    page = open_browser().open("/data")
    send(page, program)
    page.get_by_role("alert").get_by_text("is no file of data").wait_for()


def test_files_are_dropped(open_browser: Open, studio_home: Path) -> None:
    page = open_browser().open("/data")
    page.get_by_role("button", name="Choose files").wait_for()
    dropped = page.evaluate_handle("""() => {
        const data = new DataTransfer();
        for (const name of ["one.csv", "two.csv"]) data.items.add(new File(["text,label\\na,x\\n"], name));
        return data;
    }""")
    page.locator(".drop").dispatch_event("drop", {"dataTransfer": dropped})
    for name in ("one.csv", "two.csv"):
        page.get_by_role("link", name=name).wait_for()
    assert (studio_home / "uploads" / "data" / "two.csv").read_text() == "text,label\na,x\n"


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"origin": "null"}, {"host": "evil.example"}])
def test_other_pages_can_send_nothing(address: str, studio_home: Path, headers: dict[str, str]) -> None:
    url = f"{address}/studio/uploads/foreign.csv"
    assert httpx.put(url, content=b"a,b\n", headers=headers).status_code == 403
    assert httpx.get(url, params={"size": 1}, headers=headers).status_code == 403
    assert not (studio_home / "uploads" / "data" / "foreign.csv").exists()


def test_what_is_broken_off_leaves_nothing(address: str, studio_home: Path) -> None:
    folder = studio_home / "uploads" / "data"
    httpx.put(f"{address}/studio/uploads/whole.csv", content=b"text,label\na,x\n").raise_for_status()
    place = urlsplit(address)
    with socket.create_connection((place.hostname, place.port)) as connection:
        head = f"PUT /studio/uploads/broken.csv HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 9000000\r\n\r\n"
        connection.sendall(head.encode() + b"x" * 5_000_000)
    for _ in range(200):
        httpx.get(f"{address}/studio/uploads/x.csv", params={"size": 1}).raise_for_status()
        if not [path for path in folder.iterdir() if path.name.startswith((".", "broken"))]:
            break
    assert not [path for path in folder.iterdir() if path.name.startswith((".", "broken"))]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_are_accessible_and_narrow(open_browser: Open, address: str, theme: str, tmp_path: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe

    watched = open_browser(width=360 if theme == "dark" else 1440)
    watched.page.context.add_cookies([{"name": "llmasos_theme", "value": theme, "url": address}])
    page = watched.open("/data")
    path = str(reviews(tmp_path))
    layout = quote('{"kind": "label", "text": "said", "label": "verdict"}', safe="")
    waits = {
        "/data": "Already on this machine",
        f"/data/look?data={quote(path, safe='')}": "rows 1 to 10",
        f"/data/prepare?data={quote(path, safe='')}&layout={layout}": "These are all rows.",
    }
    for place, text in waits.items():
        page = watched.open(place)
        page.get_by_text(text).first.wait_for()
        if "look" in place:
            page.get_by_label("What the rows are").click()
            page.get_by_role("option", name="Texts with classes").click()
            page.locator(".token-preview").wait_for()
        if "prepare" in place:
            page.get_by_text("Every step, with examples").click()
            page.get_by_role("heading", name="What happened to the rows").wait_for()
        page.add_style_tag(content="* {transition: none !important; animation: none !important}")
        page.wait_for_timeout(500)  # what fades in has no contrast yet
        found = Axe().run(page).response["violations"]
        grave = [(item["id"], [node["html"] for node in item["nodes"]]) for item in found
                 if item["impact"] in ("serious", "critical")]  # fmt: skip
        assert grave == [], place
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{place} is too wide"
