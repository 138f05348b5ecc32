"""Signing in and out: what a browser gets, and what it does not."""

from __future__ import annotations

import logging
import re
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from starlette.websockets import WebSocketDisconnect

from llmasos.library.database import Database
from llmasos.settings import get_settings
from llmasos.studio.accounts.sessions import ABSOLUTE, IDLE
from llmasos.studio.guard import SESSION_COOKIE
from studio.accounts.conftest import Clock, Serve, Server

SOCKET = "ws://studio.example/studio/_nicegui_ws/socket"
PASSWORDS = {"Ada": "correct horse", "Bob": "battery staple"}
HTML = {"accept": "text/html"}


def token(page: Response) -> str:
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', page.text)
    assert found is not None, page.text
    return found[1]


def send(browser: TestClient, path: str, **values: str) -> Response:
    """Fill the form of a page in and send it."""
    values.setdefault("form_token", token(browser.get(path)))
    return browser.post(path, data=values)


def sign_in(browser: TestClient, name: str = "Ada", password: str | None = None, **values: str) -> Response:
    return send(browser, "/studio/sign-in", name=name, password=password or PASSWORDS[name], **values)


def signed_in(server: Server, name: str = "Ada", **options: str) -> TestClient:
    browser = server.browser(**options)
    assert sign_in(browser, name).status_code == 303
    return browser


def cookie(answer: Response, name: str = SESSION_COOKIE) -> str:
    return next(line for line in answer.headers.get_list("set-cookie") if line.startswith(f"{name}="))


def test_strangers_are_led_to_the_door_and_see_nothing(server: Server) -> None:
    browser = server.browser()
    answer = browser.get("/studio/models?a=b", headers=HTML)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/studio/sign-in?next=%2Fstudio%2Fmodels%3Fa%3Db"
    for path in ("/studio/models", "/studio/_nicegui_ws/wait", "/studio/password", "/studio/no-such"):
        assert browser.get(path).status_code == 401
    assert browser.post("/studio/sign-out", data={}).status_code == 401
    with pytest.raises(WebSocketDisconnect), browser.websocket_connect(SOCKET):
        pass
    assert browser.get("/studio/session").json() == {"signed_in": False}


def test_who_signs_in_is_known_and_goes_where_they_wanted(server: Server) -> None:
    browser = server.browser()
    answer = sign_in(browser, " aDA ", "correct horse", next="/studio/runs?x=1")
    assert answer.status_code == 303 and answer.headers["location"] == "/studio/runs?x=1"
    assert browser.get("/studio/models").json() == {"name": "Ada", "role": "admin"}
    assert browser.get("/studio/session").json() == {"signed_in": True}
    with browser.websocket_connect(SOCKET) as socket:
        socket.send_text("hello")
        assert socket.receive_text() == "heard hello"


@pytest.mark.parametrize("wanted", [
    "https://evil.example/", "//evil.example/studio/", "/studio/\\evil", "/v1/models", "javascript:alert(1)",
    "/studio/sign-in?next=/studio/", "/studio/a\r\nx: y", "/studiox",
])  # fmt: skip
def test_nobody_is_led_elsewhere(server: Server, wanted: str) -> None:
    assert sign_in(server.browser(), next=wanted).headers["location"] == "/studio/"


def test_the_cookie_is_for_nobody_else(server: Server) -> None:
    plain, encrypted = (cookie(sign_in(server.browser(scheme=scheme))) for scheme in ("http", "https"))
    for line in (plain, encrypted):
        assert "HttpOnly" in line and "SameSite=strict" in line and "Path=/studio" in line and "Domain" not in line
    assert "Secure" not in plain and "Secure" in encrypted


def test_pages_are_plain_and_kept_nowhere(server: Server) -> None:
    page = server.browser().get("/studio/sign-in", headers={"accept-language": "zh-CN"})
    assert '<html lang="zh">' in page.text and "登录" in page.text and "<script" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "form-action 'self'" in policy and "frame-ancestors 'none'" in policy
    assert page.headers["cache-control"] == "no-store" and page.headers["x-content-type-options"] == "nosniff"


def test_what_was_typed_is_text(server: Server) -> None:
    answer = sign_in(server.browser(), '"><script>alert(1)</script>', "wrong wrong")
    assert answer.status_code == 401 and "<script" not in answer.text and "wrong wrong" not in answer.text


@pytest.mark.parametrize("form_token", ["", "0" * 64, "ü"])
def test_a_form_that_is_not_ours_does_nothing(server: Server, form_token: str) -> None:
    browser = server.browser()
    browser.get("/studio/sign-in")
    answer = sign_in(browser, form_token=form_token)
    assert answer.status_code == 500 or "expired" in answer.text
    assert SESSION_COOKIE not in browser.cookies
    ada = signed_in(server)
    assert "expired" in ada.post("/studio/sign-out", data={"form_token": form_token}).text
    assert ada.get("/studio/models").status_code == 200


def test_a_form_of_another_browser_does_nothing(server: Server) -> None:
    """Neither the form that an attacker was given, nor one with the cookie of the attacker's browser."""
    attackers = token(server.browser().get("/studio/sign-in"))
    victim = server.browser()
    victim.get("/studio/sign-in")
    assert "expired" in sign_in(victim, form_token=attackers).text
    other = signed_in(server, "Bob")
    ada = signed_in(server)
    assert "expired" in ada.post("/studio/sign-out", data={"form_token": token(other.get("/studio/password"))}).text


def test_forms_of_other_pages_are_refused_by_their_origin(server: Server) -> None:
    browser = signed_in(server)
    form = token(browser.get("/studio/password"))
    answer = browser.post("/studio/sign-out", data={"form_token": form}, headers={"origin": "https://evil.example"})
    assert answer.status_code == 403 and browser.get("/studio/models").status_code == 200


def test_a_session_that_somebody_planted_is_worth_nothing(server: Server) -> None:
    browser = server.browser()
    browser.cookies.set(SESSION_COOKIE, "planted", domain="studio.example", path="/studio")
    assert browser.get("/studio/models").status_code == 401
    sign_in(browser)
    first = browser.cookies[SESSION_COOKIE]
    assert first != "planted"
    form = token(browser.get("/studio/password"))
    again = {"form_token": form, "name": "Ada", "password": "correct horse"}
    assert browser.post("/studio/sign-in", data=again).status_code == 303
    second = browser.cookies[SESSION_COOKIE]
    assert second != first
    old = server.browser()
    old.cookies.set(SESSION_COOKIE, first, domain="studio.example", path="/studio")
    assert old.get("/studio/models").status_code == 401


def test_the_store_has_no_secret(server: Server, database: Database) -> None:
    browser = signed_in(server)
    content = "".join(str(row) for table in ("users", "sessions") for row in _rows(database, table))
    assert browser.cookies[SESSION_COOKIE] not in content and "correct horse" not in content
    assert "$argon2id$" in content


def _rows(database: Database, table: str) -> list[object]:
    from llmasos.library.schema import tables

    with database.read() as connection:
        return list(connection.execute(tables.tables[table].select()))


def test_signing_out_ends_the_session_everywhere(server: Server) -> None:
    browser = signed_in(server)
    secret = browser.cookies[SESSION_COOKIE]
    with browser.websocket_connect(SOCKET) as socket:
        socket.send_text("a")
        assert socket.receive_text() == "heard a"
        answer = browser.post("/studio/sign-out", data={"form_token": token(browser.get("/studio/password"))})
        assert answer.status_code == 303 and answer.headers["location"] == "/studio/sign-in"
        assert 'llmasos_session=""' in cookie(answer)
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
        assert closed.value.code == 1008
    browser.cookies.set(SESSION_COOKIE, secret, domain="studio.example", path="/studio")
    assert browser.get("/studio/models").status_code == 401


def test_changing_the_password_ends_all_other_sessions(server: Server) -> None:
    browser, elsewhere = signed_in(server), signed_in(server)
    with elsewhere.websocket_connect(SOCKET) as socket:
        wrong = {"current": "correct horse", "password": "a better one", "again": "a better two"}
        assert "differ" in send(browser, "/studio/password", **wrong).text
        assert "wrong" in send(browser, "/studio/password", **{**wrong, "current": "x", "again": "a better one"}).text
        short = {"current": "correct horse", "password": "short", "again": "short"}
        assert "10 to 256" in send(browser, "/studio/password", **short).text
        right = {**wrong, "again": "a better one"}
        assert send(browser, "/studio/password", **right).status_code == 303
        with pytest.raises(WebSocketDisconnect):
            socket.receive_text()
    assert browser.get("/studio/models").status_code == 200
    assert elsewhere.get("/studio/models").status_code == 401
    assert sign_in(server.browser()).status_code == 401
    assert sign_in(server.browser(), password="a better one").status_code == 303


def test_what_another_process_takes_away_is_gone_in_five_seconds(server: Server, database: Database) -> None:
    from llmasos.library.schema import users

    browser = signed_in(server, "Bob")
    assert browser.get("/studio/models").status_code == 200
    with browser.websocket_connect(SOCKET) as socket:
        with database.write() as connection:
            connection.execute(users.delete().where(users.c.name == "Bob"))
        server.clock.turn(6)
        socket.send_text("still here")
        with pytest.raises(WebSocketDisconnect):
            socket.receive_text()
    assert browser.get("/studio/models").status_code == 401


def test_a_session_ends_when_it_is_idle_and_in_any_case(server: Server, clock: Clock) -> None:
    browser = signed_in(server)
    clock.turn(IDLE - timedelta(minutes=1))
    assert browser.get("/studio/models").status_code == 200
    clock.turn(IDLE - timedelta(minutes=1))
    assert browser.get("/studio/session").json() == {"signed_in": True}  # asking is no use
    clock.turn(timedelta(minutes=2))
    assert browser.get("/studio/models").status_code == 401
    browser = signed_in(server)
    for _ in range(int(ABSOLUTE / timedelta(hours=10))):
        assert browser.get("/studio/models").status_code == 200
        clock.turn(timedelta(hours=10))
    clock.turn(timedelta(hours=10))
    assert browser.get("/studio/models").status_code == 401


def test_only_what_a_person_does_keeps_a_session(server: Server, clock: Clock) -> None:
    browser = signed_in(server)
    for message, kept in (("3", False), ('42["ack",{}]', False), ('42["event",{}]', True)):
        with browser.websocket_connect(SOCKET) as socket:
            used = _rows_used(server)
            clock.turn(120)
            socket.send_text(message)
            socket.receive_text()
        assert (_rows_used(server) != used) is kept, message


def _rows_used(server: Server) -> list[object]:
    return [row.used for row in _rows(server.door.users._database, "sessions")]  # type: ignore[attr-defined]


def test_on_this_machine_nobody_signs_in(serve: Serve) -> None:
    server = serve("127.0.0.1")
    server.door.users.add("Ada", "correct horse", "admin")
    browser = server.client(base_url="http://127.0.0.1:8000")
    assert browser.get("/studio/models").json() == {"name": None, "role": "admin"}
    assert browser.get("/studio/sign-in").headers["location"] == "/studio/"


def test_on_this_machine_too_if_the_settings_say_so(
    serve: Serve, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMASOS_STUDIO_SIGN_IN", "always")
    get_settings.cache_clear()
    server = serve("127.0.0.1")
    browser = server.client(base_url="http://127.0.0.1:8000")
    assert browser.get("/studio/models").status_code == 200, "there is nobody who could sign in"
    with browser.websocket_connect(SOCKET.replace("studio.example", "127.0.0.1:8000")) as socket:
        server.door.users.add("Ada", "correct horse", "admin")
        clock.turn(6)
        socket.send_text("still here")
        with pytest.raises(WebSocketDisconnect):
            socket.receive_text()
    assert browser.get("/studio/models").status_code == 401
    assert sign_in(browser).status_code == 303 and browser.get("/studio/models").json()["name"] == "Ada"


def test_passwords_are_in_no_log(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for name in ("Ada", "Nobody"):
            sign_in(server.browser(), name, "a secret that is wrong")
        browser = signed_in(server)
        change = {"current": "correct horse", "password": "another secret", "again": "another secret"}
        send(browser, "/studio/password", **change)
    written = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert caplog.records
    for secret in ("a secret that is wrong", "correct horse", "another secret", browser.cookies[SESSION_COOKIE]):
        assert secret not in written


def test_forms_are_small(server: Server) -> None:
    browser = server.browser()
    form = token(browser.get("/studio/sign-in"))
    with pytest.raises(Exception, match="larger than"):
        browser.post("/studio/sign-in", data={"form_token": form, "name": "x" * 20_000})
    with pytest.raises(Exception, match="too many fields"):
        browser.post("/studio/sign-in", data={f"a{number}": "" for number in range(40)})
