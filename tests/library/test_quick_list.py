from pathlib import Path
from typing import Any

from sqlalchemy import text

from llmasos.library.kind import Kind
from llmasos.library.metadata import Metadata
from llmasos.library.quick_list import read_names, read_rows
from llmasos.library.store import Library


def test_lists_the_same_as_the_catalogue(library: Library, publish: Any) -> None:
    publish("a", metadata=Metadata(architecture="llama", parameters=2**40, license="MIT", context_length=5))
    library.tag("a", "n/b:v1")
    publish("c", {"x": b"1"}, metadata=Metadata(kind=Kind.DATASET, description="名字"))
    publish("c", {"x": b"2"}, metadata=Metadata(kind=Kind.REPORT))
    path = library.home / "catalogue.db"
    assert read_rows(path) == library.catalogue.rows()
    assert len(library.catalogue.rows()) == 3
    assert read_names(path) == library.catalogue.names() == ["a:latest", "c:latest", "n/b:v1"]


def test_lists_while_others_write(library: Library, publish: Any) -> None:
    publish("a")
    with library.catalogue.database.write() as connection:
        connection.execute(text("DELETE FROM names"))
        assert read_names(library.home / "catalogue.db") == ["a:latest"]


def test_leaves_what_it_does_not_know_to_the_catalogue(tmp_path: Path, library: Library) -> None:
    assert read_names(tmp_path / "nothing.db") is None
    assert not (tmp_path / "nothing.db").exists()
    (tmp_path / "other.db").write_bytes(b"")
    assert read_rows(tmp_path / "other.db") is None
    (tmp_path / "text.db").write_bytes(b"no database" * 1000)
    assert read_names(tmp_path / "text.db") is None
    library.names()
    with library.catalogue.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert read_rows(library.home / "catalogue.db") is None
