"""The connection to the catalogue: SQLite in WAL mode by default, PostgreSQL by URL; migrations when it is opened."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, NoSuchModuleError, OperationalError

from llmasos.errors import IntegrityError, InvalidRequest, MissingDependency, OutOfDisk, Unavailable, Unsupported
from llmasos.i18n import t
from llmasos.library.disk import free_bytes, full_disk_as_error
from llmasos.library.locks import file_lock
from llmasos.library.revision import HEAD, VERSION_TABLE

BUSY_TIMEOUT = 60.0  # seconds that a transaction waits for another process's
_MIGRATION_TIMEOUT = 300.0
_MIGRATION_KEY = 0x11A5_05  # PostgreSQL's advisory lock for migrations, any constant of our own

_log = logging.getLogger(__name__)


class Database:
    """Opens the catalogue on first use and hands out transactions.

    Args:
        url: SQLAlchemy URL (``sqlite:///...`` or ``postgresql://...``).
        home: the library's folder, for the lock of migrations.
    """

    def __init__(self, url: str, home: Path) -> None:
        self._url = _read_url(url)
        self._home = home

    @cached_property
    def engine(self) -> Engine:
        """The engine, its schema brought to :data:`~llmasos.library.revision.HEAD`.

        Raises:
            Unsupported: a newer LLMasOS wrote this catalogue, or the kind of database is not known.
            Unavailable: the database cannot be reached.
        """
        engine = self._create_engine()
        with self._errors():
            self._migrate(engine)
        return engine

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the catalogue throughout."""
        with self._errors(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that changes the catalogue: all of the block, or nothing."""
        with self._errors(), self.engine.connect() as connection:
            connection = connection.execution_options(llmasos_write=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Close the pooled connections."""
        if "engine" in self.__dict__:
            self.engine.dispose()
            del self.engine

    def check(self) -> str | None:
        """SQLite's own quick check of the file: ``None`` if it is sound, else what is wrong with it."""
        if self._url.get_backend_name() != "sqlite":
            return None
        with self.read() as connection:
            result = connection.execute(text("PRAGMA quick_check(1)")).scalar_one()
        return None if result == "ok" else str(result)

    def _create_engine(self) -> Engine:
        arguments: dict[str, Any] = {}
        if self._url.get_backend_name() == "sqlite":
            arguments = {"timeout": BUSY_TIMEOUT}
            if self._url.database and self._url.database != ":memory:":
                with full_disk_as_error(self._home):
                    Path(self._url.database).parent.mkdir(parents=True, exist_ok=True)
        try:
            engine = create_engine(self._url, connect_args=arguments)
        except NoSuchModuleError as error:
            raise Unsupported(
                t("no database of the kind {name!r}", name=self._url.drivername),
                hint=t("Use sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME."),
            ) from error
        except ModuleNotFoundError as error:
            raise MissingDependency(
                t("the database {name!r} needs the package {package}", name=self._url.drivername, package=error.name),
                hint='pip install "llmasos[postgresql]"',
            ) from error
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _migrate(self, engine: Engine) -> None:
        if _current_revision(engine) == HEAD:
            return
        lock = self._home / "locks" / "migrate.lock"
        with (
            file_lock(lock, timeout=_MIGRATION_TIMEOUT, waiting_for=t("the catalogue is upgraded")),
            engine.connect() as connection,
            _advisory_lock(connection),
        ):
            _upgrade(connection.execution_options(llmasos_write=True))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what the database reports into our errors."""
        where = self._url.render_as_string(hide_password=True)
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            reason = str(error.orig)
            if "disk is full" in reason or "No space left" in reason:
                free = free_bytes(self._home)
                raise OutOfDisk(
                    t("the disk of the catalogue {where} is full", where=where),
                    needed=0,
                    free=free,
                    hint=t("Free some space and try again; nothing was changed."),
                ) from error
            raise Unavailable(
                t("the catalogue {where} cannot be used: {reason}", where=where, reason=reason.strip()),
                hint=t("Check that the database runs, the address is right and the folder can be written."),
            ) from error
        except DatabaseError as error:
            if "malformed" not in str(error.orig) and "not a database" not in str(error.orig):
                raise
            raise IntegrityError(
                t("the catalogue {where} is damaged: {reason}", where=where, reason=error.orig),
                hint=t("Restore it from a backup, or move it away and pull the models again; blobs are kept."),
            ) from error


def _read_url(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError as error:
        raise InvalidRequest(
            t("{url!r} is not a database URL", url=url),
            hint=t("Use sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME."),
        ) from error


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we send BEGIN ourselves, so that it also covers SELECT and DDL
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # a publication that was reported survives a power cut
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes its lock at once: upgrading a reader later would fail instead of waiting.
    write = connection.get_execution_options().get("llmasos_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def _advisory_lock(connection: Connection) -> Iterator[None]:
    """PostgreSQL may be shared by several machines, which file locks do not reach."""
    if connection.dialect.name != "postgresql":
        yield
        return
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_KEY})
    connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _MIGRATION_KEY})
        connection.commit()


def _current_revision(engine: Engine) -> str | None:
    """The schema's revision; ``None`` for an empty database. Cheap: Alembic is not imported."""
    with engine.connect() as connection, connection.begin():
        return _read_revision(connection)


def _read_revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608
    return revision


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    with connection.begin():
        revision = _read_revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise Unsupported(
            t(
                "this library was written by a newer LLMasOS (catalogue {found}; this one knows {known})",
                found=revision,
                known=HEAD,
            ),
            hint=t("Upgrade (`pip install --upgrade llmasos`), or use another folder: LLMASOS_HOME=/other/folder."),
        )
    _log.info("catalogue: %s -> %s", revision, HEAD)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
