"""Language and theme of a browser."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from llmasos.studio.preferences import Preferences, read


def request(**headers: str) -> Request:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": pairs, "method": "GET", "path": "/"})


@pytest.mark.parametrize(("headers", "expected"), [
    ({}, Preferences("en", "auto")),
    ({"accept_language": "zh-CN,zh;q=0.9,en;q=0.8"}, Preferences("zh", "auto")),
    ({"accept_language": "fr-FR,de;q=0.5"}, Preferences("en", "auto")),
    ({"accept_language": "fr,zh-TW;q=0.5"}, Preferences("zh", "auto")),
    ({"accept_language": "zh", "cookie": "llmasos_language=en; llmasos_theme=dark"}, Preferences("en", "dark")),
    ({"cookie": "llmasos_language=xx; llmasos_theme=<script>"}, Preferences("en", "auto")),
])  # fmt: skip
def test_read(headers: dict[str, str], expected: Preferences) -> None:
    assert read(request(**headers)) == expected


def test_dark() -> None:
    assert [Preferences("en", theme).dark for theme in ("auto", "light", "dark")] == [None, False, True]
