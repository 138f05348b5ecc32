"""The two files that ``torch.save`` has written: zip archives (since 1.6), and a row of pickles and bytes before.

Either way there is one pickle that describes tensors, and storages with their bytes, found by key. Nothing is read
that the file does not hold: sizes are compared with the file before they are believed.
"""

from __future__ import annotations

import io
import struct
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from llmasos.errors import IntegrityError, UnsafeContent, Unsupported
from llmasos.i18n import t
from llmasos.library.formats.torch_checkpoint.pickle_machine import MAX_PICKLE_BYTES, PickleMachine
from llmasos.library.formats.torch_checkpoint.tensor_calls import (
    Storage,
    is_allowed_name,
    storage_from_persistent_id,
    tensor_calls,
)
from llmasos.library.safetensors_header import BITS

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_CHUNK = 2**22
_ZIP_ERRORS = (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, struct.error, NotImplementedError, RuntimeError,
               ValueError, OverflowError)  # fmt: skip


class Container(ABC):
    """An open checkpoint. ``root`` is the value of its pickle, with descriptions in place of tensors."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root: Any = None

    @abstractmethod
    def storage_bytes(self, storage: Storage) -> int:
        """How many bytes the file has for a storage.

        Raises:
            IntegrityError: it has none under this key, or fewer than the storage needs.
        """

    @abstractmethod
    def read(self, storage: Storage, start: int, count: int) -> Iterator[bytes]:
        """``count`` bytes of a storage from byte ``start`` on, in pieces."""

    def damaged(self, reason: str) -> IntegrityError:
        """The error for a file that is not what it should be."""
        return IntegrityError(
            t("{path} is not a valid PyTorch checkpoint: {reason}", path=self.path, reason=reason),
            hint=t("Fetch the file again; an incomplete download is the usual cause."),
        )

    def _unpickle(self, stream: io.BytesIO) -> Any:
        where = str(self.path)

        def load(identifier: Any) -> Storage:
            storage = storage_from_persistent_id(identifier, where)
            self._seen(storage)
            return storage

        return PickleMachine(tensor_calls(where), is_allowed_name, load, where).run(stream)

    @abstractmethod
    def _seen(self, storage: Storage) -> None:
        """Told of every reference to a storage while the pickle is read."""


@contextmanager
def open_container(path: Path) -> Iterator[Container]:
    """Open a checkpoint of either kind.

    Raises:
        IntegrityError: the file is truncated or damaged.
        UnsafeContent: its pickle asks for more than tensors.
        Unsupported: a file of another kind (TorchScript, tar, big-endian).
    """
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if start.startswith(b"PK"):
            with _open_zip(file, path) as archive:
                yield ZipContainer(path, archive)
        elif start[:1] == b"\x80":
            yield LegacyContainer(path, file)
        else:
            raise Unsupported(
                t("{path} is not a file that torch.save has written", path=path),
                hint=t("Checkpoints are zip archives or pickles; ask the author for safetensors."),
            )


def _open_zip(file: BinaryIO, path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except _ZIP_ERRORS as error:
        raise IntegrityError(
            t("{path} is not a valid PyTorch checkpoint: {reason}", path=path, reason=error),
            hint=t("Fetch the file again; an incomplete download is the usual cause."),
        ) from error


class ZipContainer(Container):
    """A zip archive: ``<name>/data.pkl``, ``<name>/data/<key>`` and small records, all stored without compression."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        super().__init__(path)
        self._archive = archive
        members = archive.infolist()
        self._members = {member.filename: member for member in members}
        if len(self._members) != len(members):
            raise self.damaged(t("it has two entries of the same name"))
        self._check_members(members)
        pickles = [name for name in self._members if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise self.damaged(t("it has {count} entries data.pkl, one is needed", count=len(pickles)))
        self._prefix = pickles[0].removesuffix("data.pkl")
        if any(name.startswith(f"{self._prefix}code/") for name in self._members):
            raise Unsupported(
                t("{path} is a TorchScript program, not a dictionary of weights", path=path),
                hint=t("Ask the author for safetensors, or save only the state_dict of the model."),
            )
        if self._record("byteorder", 16) not in (None, b"little"):
            raise _big_endian(path)
        self.root = self._unpickle(io.BytesIO(self._record("data.pkl", MAX_PICKLE_BYTES) or b""))

    def _seen(self, storage: Storage) -> None:
        pass  # the entries say themselves how long they are

    def _check_members(self, members: list[zipfile.ZipInfo]) -> None:
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                raise UnsafeContent(
                    t(
                        "{path} has the packed or encrypted entry {name!r}, which torch.save never writes",
                        path=self.path,
                        name=member.filename[:200],
                    ),
                    hint=t("Ask the author for safetensors."),
                )
            if member.file_size != member.compress_size:
                raise self.damaged(t("the entry {name!r} has two different sizes", name=member.filename[:200]))
        if sum(member.file_size for member in members) > self.path.stat().st_size:
            raise self.damaged(t("its entries are larger than itself"))

    def _record(self, name: str, limit: int) -> bytes | None:
        member = self._members.get(self._prefix + name)
        if member is None:
            return None
        if member.file_size > limit:
            raise self.damaged(
                t(
                    "the entry {name!r} has {size} bytes, at most {limit} are allowed",
                    name=name,
                    size=member.file_size,
                    limit=limit,
                )
            )
        try:
            return self._archive.read(member)
        except _ZIP_ERRORS as error:
            raise self.damaged(str(error)) from error

    def _member(self, storage: Storage) -> zipfile.ZipInfo:
        member = self._members.get(f"{self._prefix}data/{storage.key}")
        if member is None:
            raise self.damaged(t("the storage {key!r} is missing", key=storage.key[:200]))
        return member

    def storage_bytes(self, storage: Storage) -> int:
        size = self._member(storage).file_size
        width = BITS[storage.dtype] // 8 if storage.dtype else 1
        if size < (storage.offset + storage.elements) * width:
            raise self.damaged(
                t(
                    "the storage {key!r} has {size} bytes, {needed} are needed",
                    key=storage.key[:200],
                    size=size,
                    needed=(storage.offset + storage.elements) * width,
                )
            )
        return size

    def read(self, storage: Storage, start: int, count: int) -> Iterator[bytes]:
        member = self._member(storage)
        try:
            with self._archive.open(member) as file:
                file.seek(start)
                left = count
                while left:
                    data = file.read(min(left, _CHUNK))
                    if not data:
                        raise self.damaged(t("the storage {key!r} ends early", key=storage.key[:200]))
                    left -= len(data)
                    yield data
                if start == 0 and count == member.file_size:
                    file.read(1)  # reaching the end makes the module compare the checksum
        except _ZIP_ERRORS as error:
            raise self.damaged(str(error)) from error


class LegacyContainer(Container):
    """Five pickles (magic number, protocol, system, tensors, keys), then length and bytes of each storage."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        super().__init__(path)
        self._file = file
        self._types: dict[str, tuple[str, int]] = {}
        self._places: dict[str, tuple[int, int]] = {}  # key -> offset in the file, bytes
        size = path.stat().st_size
        stream = io.BytesIO(file.read(min(MAX_PICKLE_BYTES, size)))
        if self._unpickle(stream) != _LEGACY_MAGIC or self._unpickle(stream) != _LEGACY_PROTOCOL:
            raise Unsupported(
                t("{path} is a pickle, but not one that torch.save has written", path=path),
                hint=t("Ask the author for safetensors, or save only the state_dict of the model."),
            )
        system = self._unpickle(stream)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise _big_endian(path)
        self.root = self._unpickle(stream)
        keys = self._unpickle(stream)
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise self.damaged(t("the list of its storages is missing"))
        self._locate(keys, stream.tell(), size)

    def _seen(self, storage: Storage) -> None:
        if storage.dtype is None:
            raise self.damaged(t("a storage has no type"))
        known = self._types.setdefault(storage.key, (storage.dtype, storage.offset + storage.elements))
        if known[0] != storage.dtype:
            raise self.damaged(t("the storage {key!r} has two types", key=storage.key[:200]))

    def _locate(self, keys: list[str], offset: int, size: int) -> None:
        for key in keys:
            if key not in self._types or key in self._places:
                raise self.damaged(t("the list of its storages does not fit its tensors"))
            self._file.seek(offset)
            raw = self._file.read(8)
            elements = int.from_bytes(raw, "little")
            count = elements * (BITS[self._types[key][0]] // 8)
            offset += 8
            if len(raw) < 8 or offset + count > size:
                raise self.damaged(t("it ends inside the storage {key!r}", key=key[:200]))
            self._places[key] = (offset, count)
            offset += count

    def storage_bytes(self, storage: Storage) -> int:
        place = self._places.get(storage.key)
        if place is None:
            raise self.damaged(t("the storage {key!r} is missing", key=storage.key[:200]))
        needed = (storage.offset + storage.elements) * (BITS[storage.dtype or "U8"] // 8)
        if place[1] < needed:
            raise self.damaged(
                t(
                    "the storage {key!r} has {size} bytes, {needed} are needed",
                    key=storage.key[:200],
                    size=place[1],
                    needed=needed,
                )
            )
        return place[1]

    def read(self, storage: Storage, start: int, count: int) -> Iterator[bytes]:
        self._file.seek(self._places[storage.key][0] + start)
        left = count
        while left:
            data = self._file.read(min(left, _CHUNK))
            if not data:
                raise self.damaged(t("the storage {key!r} ends early", key=storage.key[:200]))
            left -= len(data)
            yield data


def _big_endian(path: Path) -> Unsupported:
    return Unsupported(
        t("{path} was written on a big-endian machine", path=path), hint=t("Ask the author for safetensors.")
    )
