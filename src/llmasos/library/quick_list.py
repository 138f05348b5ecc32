"""The list of versions straight from the SQLite file, for the commands that only list.

Importing SQLAlchemy takes longer than everything else that `llmasos list` and shell completion do. This reads the same
tables by hand if the catalogue is a SQLite file in the form that this code knows; for everything else, errors
included, it answers ``None`` and leaves the work to :mod:`llmasos.library.catalogue`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path

from llmasos.library.revision import HEAD, VERSION_TABLE
from llmasos.library.version import VersionRow, name_text

_TIMEOUT = 10.0  # seconds; readers of a WAL file hardly ever wait
_COLUMNS = ", ".join(field.name for field in fields(VersionRow) if field.name != "names")


def read_names(path: Path) -> list[str] | None:
    """Every name with its tag, sorted, as :meth:`Catalogue.names`."""
    try:
        with _open(path) as connection:
            return sorted(name_text(*row) for row in connection.execute("SELECT namespace, name, tag FROM names"))
    except sqlite3.Error:
        return None


def read_rows(path: Path) -> list[VersionRow] | None:
    """Every version, the newest first, as :meth:`Catalogue.rows`."""
    try:
        with _open(path) as connection:
            named: dict[str, list[str]] = {}
            for version, *name in connection.execute("SELECT version, namespace, name, tag FROM names"):
                named.setdefault(version, []).append(name_text(*name))
            connection.row_factory = sqlite3.Row
            query = f"SELECT {_COLUMNS} FROM versions ORDER BY published DESC, digest"  # noqa: S608 - our own columns
            return [
                VersionRow.from_columns(dict(row), named.get(row["digest"], ())) for row in connection.execute(query)
            ]
    except sqlite3.Error:
        return None


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    """A transaction on a catalogue of our form.

    Raises:
        sqlite3.Error: there is no such file, or it is of another form.
    """
    address = f"{path.as_uri()}?mode=rw"  # not read-only: the first reader of a WAL file creates its index
    with closing(sqlite3.connect(address, uri=True, timeout=_TIMEOUT, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        revision = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608
        if revision != (HEAD,):
            raise sqlite3.DatabaseError("another form of the catalogue")
        yield connection
