"""The catalogue: which names and versions there are, which blobs they need, and where they came from.

Works in plain SQL through SQLAlchemy Core (the ORM costs a tenth of a second at start). Methods that take a
``connection`` run inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from llmasos.library.database import Database
from llmasos.library.reference import Reference
from llmasos.library.schema import files, lineage, lineage_inputs, names, versions
from llmasos.library.version import VersionRow, name_text


@dataclass(frozen=True)
class FileRow:
    """A blob that a version needs; ``path`` is ``None`` for the manifest and the configuration."""

    path: str | None
    digest: str
    size: int


@dataclass(frozen=True)
class LineageRow:
    """A step that made or brought a version. ``document`` is the lineage as JSON."""

    version: str
    step: str
    name: str | None
    document: str
    inputs: tuple[tuple[str, str | None, str | None], ...]  # role, digest, reference
    recorded: datetime | None = None


@dataclass(frozen=True)
class NewVersion:
    """What is written when a version is published. ``values`` are the columns of the table ``versions``."""

    values: dict[str, Any]
    files: Sequence[FileRow]

    @property
    def digest(self) -> str:
        """The version's digest."""
        digest: str = self.values["digest"]
        return digest


def now_text() -> str:
    """This moment as the catalogue stores it."""
    return time_text(datetime.now(UTC))


def time_text(moment: datetime) -> str:
    """A time as the catalogue stores it: ISO 8601 in UTC, always with microseconds, so that texts sort as times."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


class Catalogue:
    """Questions to and changes of the catalogue."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # Questions

    def rows(self, *, digest: str | None = None, connection: Connection | None = None) -> list[VersionRow]:
        """All versions, the newest first, or the one with ``digest``."""
        if connection is None:
            with self.database.read() as connection:
                return self.rows(digest=digest, connection=connection)
        query = select(versions).order_by(versions.c.published.desc(), versions.c.digest)
        query_names = select(names.c.version, names.c.namespace, names.c.name, names.c.tag)
        if digest is not None:
            query = query.where(versions.c.digest == digest)
            query_names = query_names.where(names.c.version == digest)
        named: dict[str, list[str]] = {}
        for version, *parts in connection.execute(query_names):
            named.setdefault(version, []).append(name_text(*parts))
        return [
            VersionRow.from_columns(dict(row), named.get(row["digest"], ()))
            for row in connection.execute(query).mappings()
        ]

    def names(self) -> list[str]:
        """Every name with its tag, sorted."""
        with self.database.read() as connection:
            return sorted(
                name_text(*row) for row in connection.execute(select(names.c.namespace, names.c.name, names.c.tag))
            )

    def names_of(self, digest: str, connection: Connection) -> list[str]:
        """The names that point at a version."""
        query = select(names.c.namespace, names.c.name, names.c.tag).where(names.c.version == digest)
        return sorted(name_text(*row) for row in connection.execute(query))

    def find(self, reference: Reference, connection: Connection | None = None) -> str | None:
        """The digest that a reference means, if it is here. A digest in the reference decides alone."""
        if connection is None:
            with self.database.read() as connection:
                return self.find(reference, connection)
        if reference.digest is not None:
            found = connection.execute(select(versions.c.digest).where(versions.c.digest == reference.digest)).scalar()
        else:
            found = connection.execute(select(names.c.version).where(*_is_name(reference))).scalar()
        return found

    def exists(self, digest: str, connection: Connection | None = None) -> bool:
        """Whether a version is here."""
        if connection is None:
            with self.database.read() as connection:
                return self.exists(digest, connection)
        return bool(connection.execute(select(versions.c.digest).where(versions.c.digest == digest)).scalar())

    def dependents(self, digest: str, connection: Connection) -> list[VersionRow]:
        """The versions that cannot be used without this one."""
        query = select(versions.c.digest).where(versions.c.base_digest == digest)
        return [
            row
            for dependent in connection.execute(query).scalars().all()
            for row in self.rows(digest=dependent, connection=connection)
        ]

    def files_of(self, digest: str, connection: Connection) -> list[FileRow]:
        """The blobs that a version needs."""
        query = select(files.c.path, files.c.digest, files.c.size).where(files.c.version == digest)
        return [FileRow(*row) for row in connection.execute(query.order_by(files.c.position))]

    def needed_blobs(self, connection: Connection) -> set[str]:
        """Every blob that some version needs."""
        return set(connection.execute(select(files.c.digest).distinct()).scalars())

    def lineage_of(self, digest: str) -> list[LineageRow]:
        """The steps that made or brought a version, the making first."""
        with self.database.read() as connection:
            return self._lineage(connection, lineage.c.version == digest)

    def lineage_using(self, digest: str) -> list[LineageRow]:
        """The steps that used a version."""
        used = select(lineage_inputs.c.lineage).where(lineage_inputs.c.digest == digest)
        with self.database.read() as connection:
            return self._lineage(connection, lineage.c.id.in_(used))

    def recorded_names(self, repository: str) -> dict[str, tuple[str, ...]]:
        """The names ``repository:tag`` that steps gave their versions, by digest, whether they point there still."""
        query = select(lineage.c.version, lineage.c.name).where(
            lineage.c.name.startswith(f"{repository}:", autoescape=True)
        )
        found: dict[str, dict[str, None]] = {}
        with self.database.read() as connection:
            for version, name in connection.execute(query.order_by(lineage.c.id)):
                found.setdefault(version, {})[name] = None
        return {version: tuple(names) for version, names in found.items()}

    def _lineage(self, connection: Connection, condition: Any) -> list[LineageRow]:
        rows = connection.execute(select(lineage).where(condition).order_by(lineage.c.id)).all()
        inputs: dict[int, list[tuple[str, str | None, str | None]]] = {}
        query = select(lineage_inputs).where(lineage_inputs.c.lineage.in_([row.id for row in rows]))
        for row in connection.execute(query.order_by(lineage_inputs.c.lineage, lineage_inputs.c.position)):
            inputs.setdefault(row.lineage, []).append((row.role, row.digest, row.reference))
        return [
            LineageRow(
                row.version,
                row.step,
                row.name,
                row.document,
                tuple(inputs.get(row.id, ())),
                datetime.fromisoformat(row.recorded),
            )
            for row in rows
        ]

    # Changes

    def add_version(self, version: NewVersion, connection: Connection) -> None:
        """Write a version unless it is there already."""
        digest = version.digest
        if connection.execute(select(versions.c.digest).where(versions.c.digest == digest)).scalar() is not None:
            return
        connection.execute(insert(versions), {**version.values, "published": now_text()})
        connection.execute(
            insert(files),
            [
                {"version": digest, "position": position, "path": file.path, "digest": file.digest, "size": file.size}
                for position, file in enumerate(version.files)
            ],
        )

    def add_lineage(self, row: LineageRow, connection: Connection) -> None:
        """Write a step, unless the same document is recorded for the version already."""
        same = select(lineage.c.id).where(lineage.c.version == row.version, lineage.c.document == row.document)
        if connection.execute(same).first() is not None:
            return
        values = {"version": row.version, "step": row.step, "name": row.name, "document": row.document}
        number = connection.execute(
            insert(lineage).values(**values, recorded=now_text()).returning(lineage.c.id)
        ).scalar_one()
        if row.inputs:
            connection.execute(
                insert(lineage_inputs),
                [
                    {"lineage": number, "position": position, "role": role, "digest": digest, "reference": reference}
                    for position, (role, digest, reference) in enumerate(row.inputs)
                ],
            )

    def set_name(self, reference: Reference, digest: str, connection: Connection) -> str | None:
        """Point a name at a version; the digest it pointed at before, if any."""
        before = connection.execute(select(names.c.version).where(*_is_name(reference))).scalar()
        values = {"version": digest, "updated": now_text()}
        if before is None:
            connection.execute(insert(names).values(**_name_key(reference), **values))
        elif before != digest:
            connection.execute(update(names).where(*_is_name(reference)).values(**values))
        return before

    def remove_name(self, reference: Reference, connection: Connection) -> bool:
        """Forget a name; ``False`` if there was none."""
        return connection.execute(delete(names).where(*_is_name(reference))).rowcount > 0

    def remove_version(self, digest: str, connection: Connection) -> None:
        """Forget a version and its names. Its lineage stays as long as something that came from it is here."""
        connection.execute(delete(names).where(names.c.version == digest))
        connection.execute(delete(files).where(files.c.version == digest))
        connection.execute(delete(versions).where(versions.c.digest == digest))

    def remove_nameless(self, connection: Connection) -> list[str]:
        """Forget every version that has no name and that no kept version needs as its base; their digests."""
        kept = set(connection.execute(select(names.c.version).distinct()).scalars())
        bases = dict(connection.execute(select(versions.c.digest, versions.c.base_digest)).all())
        waiting = list(kept)
        while waiting:
            base = bases.get(waiting.pop())
            if base is not None and base in bases and base not in kept:
                kept.add(base)
                waiting.append(base)
        removed = sorted(set(bases) - kept)
        for digest in removed:
            self.remove_version(digest, connection)
        return removed

    def prune_lineage(self, connection: Connection) -> int:
        """Forget the lineage of removed versions that nothing here descends from; how many steps went."""
        present = set(connection.execute(select(versions.c.digest)).scalars())
        steps = {row.id: row.version for row in connection.execute(select(lineage.c.id, lineage.c.version))}
        parents: dict[str, set[str]] = {}
        for number, digest in connection.execute(select(lineage_inputs.c.lineage, lineage_inputs.c.digest)):
            if digest is not None:
                parents.setdefault(steps[number], set()).add(digest)
        reachable, waiting = set(present), list(present)
        while waiting:
            for digest in parents.get(waiting.pop(), ()):
                if digest not in reachable:
                    reachable.add(digest)
                    waiting.append(digest)
        dead = [number for number, version in steps.items() if version not in reachable]
        for number in dead:
            connection.execute(delete(lineage_inputs).where(lineage_inputs.c.lineage == number))
            connection.execute(delete(lineage).where(lineage.c.id == number))
        return len(dead)

    def count(self) -> int:
        """How many versions there are."""
        with self.database.read() as connection:
            return connection.execute(select(func.count()).select_from(versions)).scalar_one()


def _name_key(reference: Reference) -> dict[str, str]:
    named = reference.without_digest()
    assert named.tag is not None
    return {"namespace": named.namespace or "", "name": named.name, "tag": named.tag}


def _is_name(reference: Reference) -> Iterable[Any]:
    key = _name_key(reference)
    return [names.c[column] == value for column, value in key.items()]
