"""``llmasos users``, as scripts use it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def users(llmasos: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(*arguments: str, password: str = "correct horse") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(password + "\n"))
        return llmasos("users", *arguments)

    return run


def test_people_are_added_changed_and_removed(users: Run) -> None:
    assert users("add", "Ada", "--role", "admin", "--password-stdin")[0] == 0
    code, out, err = users("add", "Bob", "--password-stdin", "--json")
    assert code == 0 and json.loads(out)["role"] == "member" and "correct" not in out + err
    assert users("password", "bob", "--password-stdin", password="another one")[0] == 0
    assert json.loads(users("role", "Bob", "--role", "admin", "--json")[1])["role"] == "admin"
    code, out, _ = users("list", "--json")
    found = json.loads(out)
    assert [(item["name"], item["role"], item["signed_in"]) for item in found] == [
        ("Ada", "admin", None), ("Bob", "admin", None),
    ]  # fmt: skip
    assert set(found[0]) == {"name", "role", "created", "signed_in"}
    assert users("remove", "Ada")[0] == 0
    assert "Bob" in users("list")[1] and "Ada" not in users("list")[1]


def test_the_password_opens_the_door(users: Run) -> None:
    from llmasos.library.store import Library
    from llmasos.studio.accounts.passwords import Passwords
    from llmasos.studio.accounts.users import UserStore

    users("add", "Ada", "--role", "admin", "--password-stdin")
    users("password", "Ada", "--password-stdin", password="another one")
    store = UserStore(Library().catalogue.database, Passwords())
    assert store.check("Ada", "correct horse") is None and store.check("Ada", "another one") is not None


def test_an_empty_list_teaches(users: Run) -> None:
    assert "llmasos users add" in users("list")[1]


@pytest.mark.parametrize(("arguments", "code", "reason"), [
    (("lisst",), 2, "did you mean list"), (("add",), 2, "needs a name"), (("remove", "Eve"), 3, "'Eve'"),
    (("add", "Bob", "--password-stdin"), 2, "first user must be an admin"), (("role", "Bob"), 2, "--role"),
    (("add", "Bob", "--role", "root", "--password-stdin"), 2, "admin, member"),
    (("list", "--role", "admin"), 0, ""), (("password", "Eve", "--password-stdin"), 3, "'Eve'"),
    (("remove", "Bob", "--role", "admin"), 2, "takes no role"), (("add", "Bob"), 2, "--password-stdin"),
])  # fmt: skip
def test_what_is_wrong_is_told(users: Run, arguments: tuple[str, ...], code: int, reason: str) -> None:
    found, _, err = users(*arguments)
    assert found == code and reason in err


def test_without_argon2_it_says_what_to_install(users: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "argon2", None)
    code, _, err = users("list")
    assert code == 8 and "argon2-cffi" in err and "llmasos[studio]" in err
