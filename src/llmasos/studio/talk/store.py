"""Where talks are kept: one JSON file each, in the home folder, apart for each person."""

from __future__ import annotations

import re
import secrets
import threading
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from llmasos.errors import LLMasOSError, NotFound
from llmasos.i18n import t
from llmasos.library.disk import write_file
from llmasos.studio.talk.saved import Side, Talk, from_json, to_json

if TYPE_CHECKING:
    from llmasos.studio.context import Context

_IDENTIFIER = re.compile(r"[0-9a-f]{16}")
#: Talks that some tab has open, by file: two tabs share one, so that neither writes over what the other was told.
_OPEN: WeakValueDictionary[Path, Talk] = WeakValueDictionary()
_WRITING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Entry:
    """A talk as the list shows it. ``problem`` says why its file cannot be read."""

    id: str
    name: str
    changed: datetime
    models: tuple[str, ...] = ()
    problem: str | None = None


class TalkStore:
    """The talks of one person. Reading and writing block: call them from a thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, context: Context) -> TalkStore:
        """Those of who looks; accounts of the same name, one after the other, share nothing."""
        root = context.platform.library.home / "conversations"
        name = context.visitor.name
        return cls(root / ("owner" if name is None else f"user-{context.platform.door.users.get(name).id}"))

    def new(self, model: str) -> Talk:
        """An empty talk; it has no file until it is saved."""
        talk = Talk(secrets.token_hex(8), [Side(model)])
        _OPEN[self._path(talk.id)] = talk
        return talk

    def open(self, identifier: str) -> Talk:
        """A talk, the very one that another tab has open.

        Raises:
            NotFound: there is none.
            Unsupported, IntegrityError: it cannot be read.
        """
        path = self._path(identifier)
        found = _OPEN.get(path)
        if found is not None:
            return found
        try:
            talk = from_json(path.read_text(encoding="utf-8"), path.name)
        except FileNotFoundError as error:
            raise _not_found(identifier) from error
        return _OPEN.setdefault(path, talk)

    def save(self, talk: Talk) -> None:
        """Write it, whole or not at all.

        Raises:
            OutOfDisk: it does not fit.
        """
        path = self._path(talk.id)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _WRITING:  # what is written last is what is true last
            write_file(path, to_json(talk).encode())

    def delete(self, identifier: str) -> None:
        """Delete it; nothing happens if it is gone."""
        path = self._path(identifier)
        _OPEN.pop(path, None)
        path.unlink(missing_ok=True)

    def entries(self) -> list[Entry]:
        """All talks, the newest first."""
        found = []
        for path in self.folder.glob("*.json") if self.folder.is_dir() else ():
            try:
                state = path.stat()
            except FileNotFoundError:  # deleted meanwhile
                continue
            if _IDENTIFIER.fullmatch(path.stem):
                found.append(_entry(path, state.st_mtime_ns, state.st_size))
        return sorted(found, key=lambda entry: entry.changed, reverse=True)

    def _path(self, identifier: str) -> Path:
        if not _IDENTIFIER.fullmatch(identifier):
            raise _not_found(identifier)
        return self.folder / f"{identifier}.json"


@lru_cache(maxsize=4096)
def _entry(path: Path, modified: int, size: int) -> Entry:
    try:
        talk = from_json(path.read_text(encoding="utf-8"), path.name)
    except (LLMasOSError, OSError, UnicodeDecodeError) as error:
        when = datetime.fromtimestamp(modified / 1e9).astimezone()
        return Entry(path.stem, path.name, when, problem=str(error))
    return Entry(talk.id, talk.name, talk.changed, tuple(side.model for side in talk.sides))


def _not_found(identifier: str) -> NotFound:
    return NotFound(
        t("there is no conversation {id!r}", id=identifier),
        hint=t("The list of conversations has those that are here."),
    )
