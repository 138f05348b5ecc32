from __future__ import annotations

from pathlib import Path

import pytest

from llmasos.errors import InvalidRecipe
from llmasos.server.configuration import read_configuration


def test_options_go_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(
        "kind: serve\nport: 9000\nmodels: [a]\nupstreams: {big: {url: 'http://127.0.0.1:1/v1/'}}\n", encoding="utf-8"
    )
    found = read_configuration(file, {"port": 9001, "host": None, "upstreams": {"other": {"url": "http://x/v1"}}})
    assert (found.port, found.models, found.host) == (9001, ("a",), "127.0.0.1")
    assert found.upstreams["big"].url == "http://127.0.0.1:1/v1" and set(found.upstreams) == {"big", "other"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("kind: sft", "kind = 'sft'"),
        ("prot: 1", "did you mean port"),
        ("port: '80'\nmax_queue: -1", "2 problem"),
        ("upstreams: {a: {url: ftp://x}}", "http://"),
        ("adapters: {a: x}\nupstreams: {a: {url: http://x}}", "share the names a"),
        ("[1]", "mapping"),
        ("a: [", "not valid YAML"),
    ],
)
def test_problems_are_told(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidRecipe, match=reason):
        read_configuration(file, {})


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match="cannot be read"):
        read_configuration(tmp_path / "none.yaml", {})
