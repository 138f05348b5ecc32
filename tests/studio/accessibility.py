"""What axe-core finds on a page."""

from __future__ import annotations

from typing import Any


def grave_violations(page: Any) -> list[tuple[str, list[str]]]:
    """What is serious or critical: the rule, and the elements that break it."""
    from axe_playwright_python.sync_playwright import Axe

    page.add_style_tag(content="* {transition: none !important; animation: none !important}")
    page.wait_for_function("!document.querySelector('.q-spinner, [aria-busy=true]')")
    page.wait_for_timeout(500)  # what fades in has no contrast yet
    found = Axe().run(page).response["violations"]
    return [(item["id"], [node["html"] for node in item["nodes"]]) for item in found
            if item["impact"] in ("serious", "critical")]  # fmt: skip
