"""One Studio for the tests of a file, and a browser for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from studio.studio_server import CHROMIUM, Watched, studio


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless Chromium. Playwright has an event loop in this thread as long as it runs: not beyond these tests."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here; Debian and Ubuntu: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def studio_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home folder of the Studio of a file."""
    return tmp_path_factory.mktemp("studio") / "home"


@pytest.fixture(scope="module")
def address(chromium: Any, studio_home: Path) -> Iterator[str]:
    """A running Studio with the default model."""
    with studio(studio_home) as found:
        yield found


@pytest.fixture
def open_browser(chromium: Any, address: str) -> Iterator[Callable[..., Watched]]:
    """Opens pages, and fails at the end if something was wrong in one."""
    opened: list[Watched] = []
    contexts = []

    def open_one(*, language: str = "en", width: int = 1440) -> Watched:
        context = chromium.new_context(viewport={"width": width, "height": 900})
        context.add_cookies([{"name": "llmasos_language", "value": language, "url": address}])
        context.set_default_timeout(60_000)
        contexts.append(context)
        opened.append(Watched(context.new_page(), address))
        return opened[-1]

    yield open_one
    for context in contexts:
        context.close()
    assert [problem for item in opened for problem in item.problems] == []
