"""Keys: made, found, limited, revoked; never stored."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from llmasos.errors import InvalidRequest, NotFound
from llmasos.library.store import Library
from llmasos.server.keys import KeyStore


@pytest.fixture
def store(home: Path) -> KeyStore:
    return KeyStore(Library(home).catalogue.database)


def test_a_key_is_found_by_its_secret_alone(store: KeyStore) -> None:
    key, secret = store.create("laptop", scopes=frozenset({"inference", "models"}), requests_per_minute=5)
    other, _ = store.create("phone")
    found = store.find(secret)
    assert found == key and found.state == "valid" and found.requests_per_minute == 5
    for wrong in ("", "x", secret[:-1], secret + "x", secret.replace(key.id, other.id), f"lk-{key.id}-" + "A" * 43):
        assert store.find(wrong) is None
    assert [item.name for item in store.list()] == ["phone", "laptop"]


def test_the_secret_is_nowhere_on_the_disk(store: KeyStore, home: Path) -> None:
    _, secret = store.create("laptop")
    random_part = secret.split("-", 2)[2].encode()
    for file in home.rglob("*"):
        if file.is_file():
            assert random_part not in file.read_bytes(), file


def test_revoked_and_expired_keys_say_so(store: KeyStore) -> None:
    key, secret = store.create("a")
    assert store.any_valid()
    assert store.revoke("a").state == "revoked"
    found = store.find(secret)
    assert found is not None and found.state == "revoked" and not store.any_valid()
    store.revoke(key.id)  # twice does no harm
    short, secret = store.create("b", lifetime=timedelta(microseconds=1))
    found = store.find(secret)
    assert found is not None and found.state == "expired" and short.expires is not None


def test_a_name_that_two_keys_have_must_be_told_by_id(store: KeyStore) -> None:
    first, _ = store.create("twin")
    second, _ = store.create("twin")
    with pytest.raises(InvalidRequest, match="2 keys"):
        store.revoke("twin")
    store.revoke(first.id)
    assert store.revoke("twin").id == second.id
    with pytest.raises(NotFound, match="'twim'") as caught:
        store.revoke("twim")
    assert "twin" in (caught.value.hint or "")


def test_what_is_not_allowed_is_named_at_once(store: KeyStore) -> None:
    with pytest.raises(InvalidRequest) as caught:
        store.create(" ", scopes=frozenset({"root"}), lifetime=timedelta(0), requests_per_minute=0)
    for part in ("name", "root", "expires", "requests_per_minute"):
        assert part in caught.value.message


def test_use_is_noted(store: KeyStore) -> None:
    key, _ = store.create("a")
    assert store.list()[0].last_used is None
    store.touch(key.id)
    assert store.list()[0].last_used is not None
