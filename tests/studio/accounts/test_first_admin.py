"""The first admin is made by whoever has the setup code, once."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from studio.accounts.conftest import Serve, Server
from studio.accounts.test_signing_in import HTML, send, token

PAGE = "/studio/first-admin"


@pytest.fixture
def empty(serve: Serve) -> Server:
    server = serve()
    assert server.door.expect_the_first() is not None
    return server


def make(browser: TestClient, code: str, password: str = "correct horse", again: str | None = None):  # type: ignore[no-untyped-def]
    return send(browser, PAGE, code=code, name="Ada", password=password, again=again or password)


def code_of(server: Server) -> str:
    assert server.door.setup_code is not None
    return server.door.setup_code.text


def test_browsers_are_led_there(empty: Server) -> None:
    browser = empty.browser()
    assert browser.get("/studio/models", headers=HTML).headers["location"] == PAGE
    assert browser.get("/studio/sign-in").headers["location"] == PAGE
    assert "Setup code" in browser.get(PAGE).text


def test_the_code_is_good_once(empty: Server) -> None:
    code, browser, second = code_of(empty), empty.browser(), empty.browser()
    late = token(second.get(PAGE))
    answer = make(browser, code.lower().replace("-", " "))
    assert answer.status_code == 303 and answer.headers["location"] == "/studio/"
    assert browser.get("/studio/models").json() == {"name": "Ada", "role": "admin"}
    again = {"form_token": late, "code": code, "name": "Eve", "password": "correct horse", "again": "correct horse"}
    assert second.post(PAGE, data=again).status_code == 401
    assert [user.name for user in empty.door.users.list()] == ["Ada"]
    assert empty.door.setup_code is None and second.get(PAGE).headers["location"] == "/studio/sign-in"


def test_nobody_else_makes_an_admin(empty: Server) -> None:
    browser = empty.browser()
    for code in ("", "AAAA-AAAA-AAAA-AAAA", "ü" * 16):
        assert make(browser, code).status_code == 401
    assert empty.door.users.list() == []


def test_guessing_the_code_is_slow(empty: Server) -> None:
    answers = [make(empty.browser(), "AAAA").status_code for _ in range(7)]
    assert answers == [401] * 5 + [429] * 2


def test_a_slip_does_not_use_the_code_up(empty: Server) -> None:
    browser = empty.browser()
    assert "differ" in make(browser, code_of(empty), again="correct house").text
    assert "10 to 256" in make(browser, code_of(empty), "short").text
    assert make(browser, code_of(empty)).status_code == 303


def test_somebody_who_was_added_meanwhile_comes_first(empty: Server) -> None:
    empty.door.users.add("Cleo", "correct horse", "admin")
    assert make(empty.browser(), code_of(empty)).status_code == 409
    assert [user.name for user in empty.door.users.list()] == ["Cleo"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_there_is_no_code_on_this_machine(serve: Serve, host: str) -> None:
    assert serve(host).door.expect_the_first() is None


def test_there_is_no_code_where_there_are_users(server: Server) -> None:
    assert server.door.expect_the_first() is None
    assert server.browser().get(PAGE).headers["location"] == "/studio/sign-in"
    form = token(server.browser().get("/studio/sign-in"))
    assert server.browser().post(PAGE, data={"form_token": form, "code": ""}).status_code != 303


def test_codes_differ() -> None:
    from llmasos.studio.accounts.setup_code import SetupCode

    assert len({SetupCode().text for _ in range(100)}) == 100
