import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

import own_postgresql
from llmasos.errors import IntegrityError, InvalidRequest, OutOfDisk, Unavailable, Unsupported
from llmasos.library import database as database_module
from llmasos.library.database import Database
from llmasos.library.metadata import Lineage, LineageInput, Metadata
from llmasos.library.reference import Reference
from llmasos.library.revision import HEAD
from llmasos.library.schema import tables
from llmasos.library.store import Library


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path}/catalogue.db", tmp_path)
    yield opened
    opened.close()


def test_the_head_is_the_newest_migration() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(database_module.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_migrations_make_the_tables_of_the_schema(database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables) == []
        assert set(tables.tables) <= set(inspect(connection).get_table_names())


def test_sqlite_is_in_wal_mode_and_durable(database: Database) -> None:
    with database.read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
    assert database.check() is None


HEAVY = ("sqlalchemy", "sqlalchemy.orm", "alembic", "pydantic", "yaml", "numpy", "torch")


@pytest.mark.parametrize(
    ("work", "imported"),
    [
        ("assert library.names() == [] and library.versions() == []", []),
        ("assert not library.has('a')", ["sqlalchemy"]),
    ],
)
def test_what_a_cold_start_imports(tmp_path: Path, work: str, imported: list[str]) -> None:
    Library(tmp_path).names()
    code = f"""
import sys
from pathlib import Path
from llmasos.library.store import Library
library = Library(Path({str(tmp_path)!r}))
{work}
print([name for name in {HEAVY} if name in sys.modules])
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLMASOS_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == str(imported)


def test_a_transaction_is_all_or_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError), database.write() as connection:
        connection.execute(text("CREATE TABLE half (x INTEGER)"))
        raise RuntimeError
    with database.read() as connection:
        assert not inspect(connection).has_table("half")


def test_a_reader_sees_one_state(database: Database) -> None:
    insert = text("INSERT INTO names VALUES ('', 'a', :tag, :digest, 'now')")
    with database.write() as connection:
        connection.execute(text("INSERT INTO versions (digest, kind, size, published) VALUES ('d', 'model', 1, 'now')"))
    with database.read() as reader:
        assert reader.execute(text("SELECT count(*) FROM names")).scalar() == 0
        with database.write() as writer:
            writer.execute(insert, {"tag": "t", "digest": "d"})
        assert reader.execute(text("SELECT count(*) FROM names")).scalar() == 0
    with database.read() as reader:
        assert reader.execute(text("SELECT count(*) FROM names")).scalar() == 1


def test_a_newer_catalogue_is_refused(tmp_path: Path) -> None:
    library = Library(tmp_path)
    library.names()
    with library.catalogue.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    library.close()
    with pytest.raises(Unsupported, match=r"newer LLMasOS \(catalogue 9999") as caught:
        Library(tmp_path).names()
    assert "Upgrade" in str(caught.value.hint)


def test_many_open_a_new_library_at_once(tmp_path: Path) -> None:
    problems: list[BaseException] = []

    def work() -> None:
        try:
            assert Library(tmp_path).names() == []
        except BaseException as error:  # noqa: BLE001 - reported below
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


@pytest.mark.parametrize("url", ["nonsense", "sqlite", "mysql+unknown://host/x"])
def test_addresses_that_mean_no_database(tmp_path: Path, url: str) -> None:
    with pytest.raises((InvalidRequest, Unsupported)) as caught:
        Library(tmp_path, database=url).names()
    assert "sqlite:///FILE" in str(caught.value.hint)


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable) as caught:
        Library(tmp_path, database=f"sqlite:///{tmp_path}").names()
    assert str(tmp_path) in caught.value.message


def test_a_password_is_not_told(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(Unavailable) as caught:
        Library(tmp_path, database="postgresql+psycopg://me:secret@127.0.0.1:1/x").names()
    assert "secret" not in caught.value.message
    assert "127.0.0.1" in caught.value.message


@pytest.mark.parametrize("content", [b"this is not a database" * 100])
def test_a_damaged_catalogue_is_an_error_of_ours(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "catalogue.db").write_bytes(content)
    with pytest.raises(IntegrityError, match="damaged"):
        Library(tmp_path).names()


def test_a_damaged_page_is_found_by_verify(library: Library) -> None:
    insert = text("INSERT INTO lineage (version, recorded, step, document) VALUES (:version, 'now', 'train', '{}')")
    with library.catalogue.database.write() as connection:
        connection.execute(insert, [{"version": f"{number}" * 20} for number in range(3000)])
    library.close()
    path = library.home / "catalogue.db"
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    try:
        problems = library.verify().problems
    except IntegrityError:
        return
    assert "catalogue" in {problem.trouble for problem in problems}


def test_a_full_disk_is_an_error_of_ours(database: Database) -> None:
    with pytest.raises(OutOfDisk), database.write() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")  # SQLite reports this as a full disk
        for number in range(500):
            connection.execute(
                text("INSERT INTO versions (digest, kind, size, published) VALUES (:digest, 'model', 1, 'now')"),
                {"digest": f"{number}" * 20},
            )
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM versions")).scalar() == 0


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server of our own."""
    with own_postgresql.running() as url:
        yield url


@pytest.mark.integration
def test_postgresql_does_the_same(tmp_path: Path, postgresql: str) -> None:
    library = Library(tmp_path, database=postgresql)
    base = None
    for name, data in (("base", b"1"), ("tuned", b"2"), ("tuned", b"3")):
        with library.draft() as draft:
            draft.add_bytes("x", data)
            inputs = [LineageInput(role="base", digest=base.digest)] if base else []
            version = draft.publish(
                Reference.parse(name), Metadata(parameters=2**40), lineage=Lineage(step="train", inputs=inputs)
            )
            base = base or version
    assert library.names() == ["base:latest", "tuned:latest"]
    assert library.versions()[0].parameters == 2**40
    assert len(library.catalogue.lineage_using(library.digest_of("base"))) == 2
    assert len(library.gc().versions) == 1
    library.tag("tuned", "other:v1")
    assert library.remove("tuned").versions == ()
    assert library.verify().ok
    assert library.view(library.resolve("other:v1")).is_dir()
    library.close()
    again = Library(tmp_path, database=postgresql)
    assert again.names() == ["base:latest", "other:v1"]
    with again.catalogue.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    again.close()
    with pytest.raises(Unsupported):
        Library(tmp_path, database=postgresql).names()
