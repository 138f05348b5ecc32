"""Keys and the server's options on the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


def test_a_key_is_made_listed_and_revoked(llmasos: Run) -> None:
    code, out, err = llmasos("keys", "new", "laptop", "--scopes", "inference, models", "--expires", "30d",
                             "--tokens-per-minute", "500")  # fmt: skip
    assert code == 0 and re.fullmatch(r"lk-[0-9a-f]{8}-[\w-]{43}\n", out) and "not shown again" in err
    code, out, _ = llmasos("keys", "list")
    assert code == 0 and "laptop" in out and "valid" in out and "500 tokens/min" in out
    code, out, _ = llmasos("keys", "revoke", "laptop", "--json")
    assert code == 0 and json.loads(out)["state"] == "revoked"
    code, out, _ = llmasos("keys", "list", "--json")
    (key,) = json.loads(out)
    assert key["scopes"] == ["inference", "models"] and key["expires"] > key["created"] and "hash" not in key


def test_json_has_the_secret_once(llmasos: Run) -> None:
    _, out, _ = llmasos("keys", "new", "ci", "--json")
    assert json.loads(out)["key"].startswith("lk-")
    _, out, _ = llmasos("keys", "list", "--json")
    assert "key" not in json.loads(out)[0]


def test_an_empty_list_teaches(llmasos: Run) -> None:
    assert "llmasos keys new" in llmasos("keys", "list")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("keys", "lisst"), 2, "did you mean list"),
        (("keys", "new"), 2, "needs a name"),
        (("keys", "new", "a", "--scopes", "root"), 2, "inference, models, metrics"),
        (("keys", "new", "a", "--expires", "soon"), 2, "such as 30d"),
        (("keys", "revoke", "nobody"), 3, "'nobody'"),
        (("serve", "--adapter", "x"), 2, "NAME=VALUE"),
        (("serve", "--host", "0.0.0.0", "--port", "0"), 2, "no key protects the server"),
        (("serve", "--max-queue", "-1"), 2, "max_queue"),
        (("serve", "--access-log", "all"), 2, "access_log"),
        (("serve", "--config", "none.yaml"), 2, "none.yaml"),
        (("serve", "--upstream", "a=ftp://x"), 2, "http://"),
    ],
)
def test_what_is_wrong_is_told(llmasos: Run, arguments: tuple[str, ...], code: int, reason: str, home: Path) -> None:
    found, out, err = llmasos(*arguments)
    assert (found, out) == (code, "") and reason in err
