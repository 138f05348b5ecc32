"""How fast the Studio is: the first page in a new browser, and the way from page to page.

    python benchmarks/studio.py --home ~/.llmasos --output benchmarks/results/studio.json

Starts ``llmasos up``, waits until it is warm, and drives headless Chromium: opens the first page in fresh browser
contexts (an empty cache each time), then clicks through the navigation. A page counts as there when its heading is
painted; what fills in afterwards is told apart. Measure on an idle machine: the load before is among the results.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmasos import __version__, hardware
from llmasos.studio.pages import PAGES

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FIRST_PAGE = 2.0
NAVIGATION = 0.3

#: Clicks a link of the navigation. Resolves with the milliseconds until the new page's heading is painted, and until
#: the last change of the page before a quarter of a second without any.
CLICK = """
(path) => new Promise((resolve, reject) => {
  const link = [...document.querySelectorAll('nav a')].find((item) => item.getAttribute('href').endsWith(path));
  const before = document.querySelector('#main .page');
  const start = performance.now();
  let shown = null, changed = start;
  const observer = new MutationObserver(() => { changed = performance.now(); });
  observer.observe(document.getElementById('main'), {childList: true, subtree: true});
  const settle = () => {
    if (performance.now() - Math.max(changed, shown) < 250) return void setTimeout(settle, 25);
    observer.disconnect();
    resolve({shown: shown - start, filled: Math.max(changed, shown) - start});
  };
  const wait = () => {
    const page = document.querySelector('#main .page');
    if (page && page !== before && page.querySelector('[role=heading]')) {
      requestAnimationFrame(() => requestAnimationFrame(() => { shown = performance.now(); settle(); }));
    } else if (performance.now() - start > 20000) {
      reject(new Error('no page at ' + path));
    } else {
      requestAnimationFrame(wait);
    }
  };
  link.click();
  wait();
})
"""


@contextmanager
def studio(home: Path) -> Iterator[str]:
    """The address of a Studio on a home folder."""
    command = [sys.executable, "-m", "llmasos.cli.app", "up", "--no-browser", "--port", "0", "--json"]
    environment = {**os.environ, "LLMASOS_HOME": str(home), "LLMASOS_LANG": "en"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        told = ""
        for line in process.stdout:
            told += line
            if line.startswith("}"):
                break
        yield json.loads(told)["address"]
    finally:
        process.terminate()
        process.wait(30)


def first_pages(browser: Any, address: str, repetitions: int) -> list[float]:
    """Seconds until the first page can be used: its heading is there and its connection is open."""
    found = []
    for _ in range(repetitions):
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        started = time.perf_counter()
        page.goto(f"{address}/studio/", wait_until="commit")
        page.wait_for_function(
            "document.querySelector('#main .page [role=heading]') && window.socket && window.socket.connected"
        )
        found.append(time.perf_counter() - started)
        context.close()
    return found


def navigation(browser: Any, address: str, repetitions: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds from a click in the navigation to the page, and until it has filled, by page."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(f"{address}/studio/")
    page.wait_for_function("document.querySelector('#main .page [role=heading]') && window.socket?.connected")
    paths = [entry.path for entry in PAGES if entry.in_navigation]
    found: dict[str, dict[str, list[float]]] = {path: {"shown": [], "filled": []} for path in paths}
    for number in range(repetitions + 1):
        for path in [*paths[1:], paths[0]]:
            times = page.evaluate(CLICK, path)
            if number:  # the first round loads what pages bring along
                for moment, milliseconds in times.items():
                    found[path][moment].append(milliseconds)
    context.close()
    return found


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--home", type=Path, required=True, help="home folder with the default model in it")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    from playwright.sync_api import sync_playwright

    executable = next(path for name in CHROMIUM if (path := shutil.which(name)))
    load = os.getloadavg()[0]
    with studio(chosen.home) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        version = browser.version
        first_pages(browser, address, 1)  # the server is warm afterwards
        first = first_pages(browser, address, chosen.repetitions)
        pages = navigation(browser, address, chosen.repetitions)
        browser.close()
    processor = hardware.processor()
    results: dict[str, Any] = {
        "program": __version__,
        "machine": {
            "processor": processor.model, "cores": processor.usable, "memory": hardware.memory().total,
            "load_before": round(load, 2), "system": platform.platform(), "python": platform.python_version(),
            "chromium": version,
        },
        "settings": {"repetitions": chosen.repetitions, "width": 1440, "server": "warm", "cache": "empty at first"},
        "limits": {"first_page_s": FIRST_PAGE, "navigation_ms": NAVIGATION * 1000},
        "first_page_s": {"median": round(statistics.median(first), 3), "all": [round(value, 3) for value in first]},
        "navigation_ms": {
            path: {
                "median": round(statistics.median(times["shown"])),
                "filled_median": round(statistics.median(times["filled"])),
                "most": round(max(times["shown"])),
            }
            for path, times in pages.items()
        },
    }  # fmt: skip
    print(f"first page {results['first_page_s']['median']:.2f} s (at most {FIRST_PAGE:.0f} s)")
    for path, times in results["navigation_ms"].items():
        print(f"{path:<14} {times['median']:>5} ms, filled after {times['filled_median']:>5} ms")
    print(f"load of the machine before: {load:.2f}")
    if chosen.output:
        chosen.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
