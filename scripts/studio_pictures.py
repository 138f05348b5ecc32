"""Take the pictures of the Studio for the documentation, with a browser, of every page.

    python scripts/studio_pictures.py [--home FOLDER]

In English they are light, at 1440 and at 360 pixels, under ``docs/images/studio``; in Chinese dark, at 1440 pixels,
under ``docs/zh/images/studio``. The home folder that is shown is filled first, which takes some minutes; one that was
kept from an earlier call is used as it is.
"""

# ruff: noqa: E402 - the folder must be known before its modules

from __future__ import annotations

import argparse
import io
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from studio_stage import CLASSIFIER, MODEL, Stage, act, add_person, chromium_path, fill, running

PATIENCE = 600_000
TALLEST = {1440: 1500, 360: 1400}
"""Pixels of a page that are shown, by its width; what is further down is cut."""
QUALITY = 82
CURVE = ".curves svg:not(.key) path"
STILL = "*, *::before, *::after {transition: none !important; animation: none !important; caret-color: transparent}"


@dataclass(frozen=True)
class Look:
    """How the pages are shown, and where the pictures go."""

    language: str
    theme: str
    width: int
    folder: Path
    ending: str

    def file(self, name: str) -> Path:
        """Of the picture of that name."""
        return self.folder / f"{name}{self.ending}.webp"


LOOKS = (
    Look("en", "light", 1440, ROOT / "docs/images/studio", ""),
    Look("en", "light", 360, ROOT / "docs/images/studio", "-narrow"),
    Look("zh", "dark", 1440, ROOT / "docs/zh/images/studio", ""),
)


@dataclass(frozen=True)
class Picture:
    """A page: its file's name, its address, and what is done before it is taken."""

    name: str
    path: str
    prepare: Callable[[Page], None] = lambda page: None


def pictures(stage: Stage) -> list[Picture]:
    """Of every page."""
    first, second = stage.evaluations
    return [
        Picture("home", "/"),
        Picture("models", "/models"),
        Picture("model", f"/models/{CLASSIFIER.replace('/', '~')}", until(".facts")),
        Picture("models-compare", f"/models/compare?first=minilm:l6-v2&second={CLASSIFIER}"),
        Picture("playground", f"/playground?conversation={stage.conversation}", until(".said.assistant")),
        Picture("explain", "/explain", explain),
        Picture("data", "/data"),
        Picture("data-look", f"/data/look?data={stage.table}", until(".token-preview")),
        Picture("data-prepare", f"/data/prepare?data={stage.table}"),
        Picture("train", f"/train?goal=classify&data={stage.table}", memories),
        Picture("runs", "/runs"),
        Picture("run", f"/runs/{stage.training}", until(CURVE)),
        Picture("run-data", f"/runs/{stage.preparation}"),
        Picture("runs-compare", f"/runs/compare?runs={stage.training},{stage.other_training}", until(CURVE)),
        Picture("evaluate", f"/evaluate?model={MODEL}", until(".task-row")),
        Picture("leaderboard", "/evaluate/leaderboard"),
        Picture("evaluation", f"/evaluate/results/{first}", open_sample),
        Picture("evaluations-compare", f"/evaluate/compare?first={first}&second={second}", compare_all_the_same),
        Picture("serve", "/serve"),
        Picture("settings", "/settings"),
    ]


def until(selector: str) -> Callable[[Page], None]:
    """Wait for something on the page."""

    def wait(page: Page) -> None:
        page.locator(selector).first.wait_for()

    return wait


def memories(page: Page) -> None:
    """What the methods take, which is found out one after the other."""
    page.locator(".choice .memory", has_text=re.compile(r"\d")).nth(3).wait_for()


def explain(page: Page) -> None:
    """The text that stands there, looked at."""
    page.locator("button", has=page.locator("i", has_text="psychology")).last.click()
    page.locator("canvas, .attention, table").first.wait_for()


def open_sample(page: Page) -> None:
    """The first sample of an evaluation, opened."""
    page.locator(".sample .q-item").first.click()
    page.wait_for_timeout(1_000)  # it comes from the file


def compare_all_the_same(page: Page) -> None:
    """Two evaluations whose settings differ, which has to be said."""
    page.get_by_role("switch").click()
    page.locator(".sample").first.wait_for()


def take(page: Page, look: Look, name: str) -> int:
    """Take the picture of a page as it stands; its bytes."""
    page.add_style_tag(content=STILL)
    page.wait_for_function("!document.querySelector('.q-spinner, .q-notification, [aria-busy=true]')")
    page.evaluate("scrollTo(0, 0)")
    for _ in range(2):  # what is laid out anew may have another height
        height = min(TALLEST[look.width], page.evaluate("document.documentElement.scrollHeight"))
        page.set_viewport_size({"width": look.width, "height": max(height, 640)})
        page.wait_for_timeout(300)
    picture = Image.open(io.BytesIO(page.screenshot()))
    target = look.file(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.convert("RGB").save(target, quality=QUALITY, method=6)
    return target.stat().st_size


@contextmanager
def opened(browser: Browser, address: str, look: Look) -> Iterator[Page]:
    """A page that has the look."""
    context = browser.new_context(viewport={"width": look.width, "height": 900})
    context.set_default_timeout(PATIENCE)
    context.add_cookies([{"name": f"llmasos_{name}", "value": value, "url": address}
                         for name, value in (("language", look.language), ("theme", look.theme))])  # fmt: skip
    yield context.new_page()
    context.close()


def take_all(browser: Browser, home: Path, wanted: set[str]) -> None:
    """Every page in every look."""
    with running(home) as address:
        with opened(browser, address, LOOKS[0]) as page:
            act(page, address, home)
        stage = Stage.found(home)
        for look in LOOKS:
            for picture in pictures(stage):
                if wanted and picture.name not in wanted:
                    continue
                with opened(browser, address, look) as page:
                    page.goto(f"{address}/studio{picture.path}")
                    page.get_by_role("main").wait_for()
                    page.get_by_role("heading", level=1).wait_for()
                    page.wait_for_timeout(500)  # parts that come after the frame show a spinner until then
                    picture.prepare(page)
                    print(look.file(picture.name).relative_to(ROOT), take(page, look, picture.name), flush=True)


def take_doors(browser: Browser, wanted: set[str]) -> None:
    """Where the first admin is made, and where people sign in, on a home folder without models."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        for name in ("first-admin", "sign-in"):
            if wanted and name not in wanted:
                continue
            if name == "sign-in":
                add_person(home, "ada")
            with running(home, "none", "--host", "0.0.0.0") as address:  # noqa: S104 - that is when people sign in
                for look in LOOKS:
                    with opened(browser, address, look) as page:
                        page.goto(f"{address}/studio/{name}")
                        page.locator("form").wait_for()
                        print(look.file(name).relative_to(ROOT), take(page, look, name), flush=True)


def main() -> None:
    """Fill the home folder if need be, and take what is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="home folder to show and keep; default: a temporary one")
    parser.add_argument("--only", nargs="*", default=[], help="names of pictures; default: all")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home: Path = arguments.home or Path(folder) / "home"
        fill(home)
        browser: Any = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox"])
        take_all(browser, home, set(arguments.only))
        take_doors(browser, set(arguments.only))
        browser.close()


if __name__ == "__main__":
    main()
