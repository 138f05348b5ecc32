"""Guessing passwords is slow, whoever guesses, and tells nothing about names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llmasos.errors import TooManyRequests
from llmasos.studio.accounts import attempts as module
from llmasos.studio.accounts.attempts import (
    ACCOUNT_CEILING,
    ADDRESS_CEILING,
    FREE,
    LOOPBACK_CEILING,
    Attempts,
    counted,
)  # fmt: skip
from llmasos.studio.accounts.passwords import Passwords
from studio.accounts.conftest import CHEAP, Clock, Server
from studio.accounts.test_signing_in import sign_in


def waits(
    attempts: Attempts, clock: Clock, count: int, account: str = "ada", address: str = "192.0.2.7"
) -> list[float]:
    """The waits that guessing ``count`` times has, one guess after another, as early as possible."""
    found = []
    for _ in range(count):
        began = clock.seconds
        while True:
            try:
                attempts.begin(counted(account, address))
                break
            except TooManyRequests as error:
                clock.turn(error.retry_after)
        found.append(clock.seconds - began)
    return found


def test_waits_double_up_to_a_ceiling(clock: Clock) -> None:
    found = waits(Attempts(clock), clock, FREE + 14)
    assert found[: FREE + 5] == [0.0] * FREE + [1.0, 2.0, 4.0, 8.0, 16.0]
    assert found[-1] == ADDRESS_CEILING and found == sorted(found)


def test_an_account_is_slowed_down_from_any_address(clock: Clock) -> None:
    attempts = Attempts(clock)
    found = [waits(attempts, clock, 1, address=f"198.51.100.{number}")[0] for number in range(FREE + 12)]
    assert found[FREE] == 1.0 and found[-1] == ACCOUNT_CEILING


def test_an_address_is_slowed_down_at_any_account(clock: Clock) -> None:
    attempts = Attempts(clock)
    found = [waits(attempts, clock, 1, account=f"name{number}")[0] for number in range(FREE + 3)]
    assert found[FREE:] == [1.0, 2.0, 4.0]


@pytest.mark.parametrize(("one", "other", "same"), [
    ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True), ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
    ("192.0.2.1", "192.0.2.2", False), ("::ffff:192.0.2.1", "192.0.2.1", True), ("testclient", "testclient", True),
])  # fmt: skip
def test_what_is_one_address(one: str, other: str, same: bool) -> None:
    assert (counted("a", one)[1] == counted("a", other)[1]) is same


@pytest.mark.parametrize("loopback", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_nobody_out_there_locks_the_owner_out(clock: Clock, loopback: str) -> None:
    attempts = Attempts(clock)
    waits(attempts, clock, 30)
    attempts.begin(counted("ada", loopback))
    assert max(waits(attempts, clock, 30, address=loopback)) == LOOPBACK_CEILING


def test_success_forgives_the_account_and_not_the_address(clock: Clock) -> None:
    attempts = Attempts(clock)
    for number in range(FREE + 4):  # wrong ones at others' accounts, each followed by a right one at the own
        waits(attempts, clock, 1, account=f"other{number}")
        waits(attempts, clock, 1, account="own")
        attempts.succeeded(counted("own", "192.0.2.7"))
    assert waits(attempts, clock, 2)[1] > 0
    attempts = Attempts(clock)
    waits(attempts, clock, FREE)
    attempts.succeeded(counted("ada", "192.0.2.7"))
    assert waits(attempts, clock, FREE - 1, address="198.51.100.9") == [0.0] * (FREE - 1)


def test_many_at_once_are_many(clock: Clock) -> None:
    attempts = Attempts(clock)
    for _ in range(FREE):
        attempts.begin(counted("ada", "192.0.2.7"))
    with pytest.raises(TooManyRequests, match="too many wrong attempts"):
        attempts.begin(counted("ada", "192.0.2.7"))


def test_a_day_later_all_is_forgotten(clock: Clock) -> None:
    attempts = Attempts(clock)
    waits(attempts, clock, 30)
    clock.turn(25 * 3600)
    assert waits(attempts, clock, FREE) == [0.0] * FREE


def test_an_office_behind_one_address_does_not_pay_for_ever(clock: Clock) -> None:
    attempts = Attempts(clock)
    for number in range(100):  # now and then somebody mistypes
        clock.turn(1200)
        assert waits(attempts, clock, 2, account=f"name{number}") == [0.0, 0.0]
        attempts.succeeded(counted(f"name{number}", "192.0.2.7"))


def test_what_is_remembered_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 10)
    attempts = Attempts(clock)
    for number in range(100):
        attempts.begin(counted(f"name{number}", f"198.51.100.{number}"))
    assert len(attempts._records) == 10


@pytest.mark.parametrize("name", ["Ada", "Nobody"])
def test_the_door_says_how_long_to_wait_to_known_and_unknown_alike(server: Server, name: str) -> None:
    browser = server.browser()
    for _ in range(FREE):
        answer = sign_in(browser, name, "a wrong one")
        assert answer.status_code == 401 and "the name or the password is wrong" in answer.text
    answer = sign_in(browser, name, "a wrong one")
    assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1
    assert "too many wrong attempts" in answer.text
    server.clock.turn(1.5)
    assert sign_in(browser, name, "a wrong one").status_code == 401


def test_a_right_password_has_to_wait_too(server: Server) -> None:
    browser = server.browser()
    for _ in range(FREE):
        sign_in(browser, "Ada", "a wrong one")
    assert sign_in(browser).status_code == 429
    assert sign_in(server.browser(address="198.51.100.9")).status_code == 429, "the account is slowed down"
    assert sign_in(server.browser(address="127.0.0.1")).status_code == 303, "its owner is not locked out"


def test_an_unknown_name_takes_the_same_way(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str] = []
    passwords = server.door.users._passwords
    original: Callable[..., Any] = passwords._hasher.verify

    class Watched:
        def verify(self, hashed: str, password: str) -> bool:
            verified.append(hashed)
            return bool(original(hashed, password))

        def __getattr__(self, name: str) -> Any:
            return getattr(CHEAP, name)

    monkeypatch.setattr(passwords, "_hasher", Watched())
    answers = [sign_in(server.browser(), name, "a wrong one") for name in ("Ada", "Nobody")]
    assert len(verified) == 2
    cost = [hashed.rpartition("$")[0].rpartition("$")[0] for hashed in verified]
    assert cost[0] == cost[1] and verified[0] != verified[1]
    assert {answer.status_code for answer in answers} == {401}
    bare = [answer.text.replace(name, "") for answer, name in zip(answers, ("Ada", "Nobody"), strict=True)]
    assert len({len(text) for text in bare}) == 1


def test_the_right_password_of_nobody_is_wrong() -> None:
    passwords = Passwords(CHEAP)
    assert not passwords.is_right("anything", None)
