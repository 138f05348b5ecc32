"""The people in the catalogue."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher

from llmasos.errors import AlreadyExists, Forbidden, InUse, InvalidRequest, NotFound, Unauthorised
from llmasos.library.database import Database
from llmasos.studio.accounts.passwords import Passwords
from llmasos.studio.accounts.sessions import SessionStore, identity
from llmasos.studio.accounts.users import UserStore
from llmasos.studio.accounts.visitor import Visitor
from studio.accounts.conftest import CHEAP, Server


@pytest.fixture
def users(database: Database) -> UserStore:
    store = UserStore(database, Passwords(CHEAP))
    store.add("Ada", "correct horse", "admin")
    return store


def test_names_are_one_person_however_they_are_written(users: UserStore) -> None:
    users.add("王伟", "battery staple")
    assert users.get("ADA").name == "Ada" and users.get("\uff21da").name == "Ada"
    with pytest.raises(AlreadyExists, match="'ada'"):
        users.add("ada", "battery staple")
    assert [user.name for user in users.list()] == ["Ada", "王伟"]
    with pytest.raises(NotFound, match="Adda") as error:
        users.get("Adda")
    assert "Ada" in (error.value.hint or "")


@pytest.mark.parametrize(("name", "password", "role", "message"), [
    ("", "battery staple", "member", "1 to 64"), (" ", "battery staple", "member", "1 to 64"),
    ("x" * 65, "battery staple", "member", "1 to 64"), ("a\nb", "battery staple", "member", "1 to 64"),
    ("\ufdfa" * 60, "battery staple", "member", "1 to 64"), ("Bob", "too short", "member", "has 9"),
    ("Bob", "x" * 257, "member", "257"), ("Bob", "battery staple", "root", "admin, member"),
    ("battery staple", "Battery Staple", "member", "must not be the name"),
])  # fmt: skip
def test_what_is_not_allowed(users: UserStore, name: str, password: str, role: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        users.add(name, password, role)  # type: ignore[arg-type]


def test_there_is_always_an_admin(users: UserStore, database: Database) -> None:
    users.add("Bob", "battery staple")
    for work in (lambda: users.remove("Ada"), lambda: users.set_role("Ada", "member")):
        with pytest.raises(InUse, match="only admin"):
            work()
    users.set_role("Bob", "admin")
    users.set_role("Ada", "member")
    assert users.remove("Ada").name == "Ada" and [user.name for user in users.list()] == ["Bob"]


def test_the_first_is_an_admin(database: Database) -> None:
    store = UserStore(database, Passwords(CHEAP))
    with pytest.raises(InvalidRequest, match="first user must be an admin"):
        store.add("Bob", "battery staple")
    assert not store.any()


def test_a_change_ends_the_sessions_of_the_person_alone(users: UserStore, database: Database) -> None:
    users.add("Bob", "battery staple")
    sessions = SessionStore(database)
    ada = identity(sessions.begin(users.get("Ada")))
    for change in (lambda: users.set_role("Bob", "admin"), lambda: users.set_password("Bob", "another one"),
                   lambda: users.remove("Bob")):  # fmt: skip
        bob = identity(sessions.begin(users.get("Bob")))
        assert sessions.find(bob) is not None
        change()
        assert sessions.find(bob) is None
    assert sessions.find(ada) is not None


def test_a_hash_of_another_cost_is_made_anew(database: Database, users: UserStore) -> None:
    from llmasos.library.schema import users as table

    def kept() -> str:
        with database.read() as connection:
            return str(connection.execute(table.select()).one().password)

    before = kept()
    dearer = UserStore(database, Passwords(PasswordHasher(time_cost=2, memory_cost=128, parallelism=1)))
    assert dearer.check("ada", "wrong") is None and kept() == before
    assert dearer.check("ada", "correct horse") is not None
    assert kept() != before and "m=128,t=2,p=1" in kept() and kept().startswith("$argon2id$")
    assert dearer.check("ada", "correct horse") is not None


def test_what_keyboards_write_differently_is_the_same_password(users: UserStore) -> None:
    users.set_password("Ada", "cafe\u0301 au lait")
    assert users.check("Ada", "caf\u00e9 au lait") is not None


def test_nobody_sees_a_hash(users: UserStore) -> None:
    assert "argon2" not in repr(users.get("Ada"))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_what_members_may_not_do_is_refused_at_the_door(server: Server, anyio_backend: str) -> None:
    bob = server.door.users.get("Bob")
    session = identity(await server.door.begin(bob))
    visitor = Visitor("Bob", "member", session)
    await server.door.require(visitor)
    with pytest.raises(Forbidden, match="only admins"):
        await server.door.require(visitor, admin=True)
    with pytest.raises(Unauthorised, match="ended"):  # nor by saying so oneself
        await server.door.require(Visitor("Bob", "admin", session), admin=True)
    await server.door.change(lambda: server.door.users.set_role("Bob", "admin"))
    with pytest.raises(Unauthorised, match="ended"):
        await server.door.require(visitor)
