"""The header of a GGUF file: metadata and the directory of tensors, without touching a weight.

A file may be truncated, damaged or hostile, so no length in it is believed before it was compared with what the file
can hold. Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from llmasos.errors import IntegrityError, Unsupported
from llmasos.i18n import t
from llmasos.library.formats.gguf.types import TENSOR_TYPES, TensorType

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_HEADER_BYTES = 128 * 2**20  # the largest vocabularies known take 20 MB
MAX_KEY_BYTES = 65_535  # limits of the format's specification
MAX_DIMENSIONS = 4
DEFAULT_ALIGNMENT = 32

Scalar = int | float | bool | str
Value = Scalar | Sequence[int] | Sequence[float] | Sequence[str]


class ValueType(IntEnum):
    """How a metadata value is stored."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


_CODES = {
    ValueType.UINT8: "B",
    ValueType.INT8: "b",
    ValueType.UINT16: "H",
    ValueType.INT16: "h",
    ValueType.UINT32: "I",
    ValueType.INT32: "i",
    ValueType.FLOAT32: "f",
    ValueType.BOOL: "B",
    ValueType.UINT64: "Q",
    ValueType.INT64: "q",
    ValueType.FLOAT64: "d",
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies. ``shape`` is row-major (the file's own order is reversed); ``offset`` counts from byte 0."""

    name: str
    type: TensorType
    shape: tuple[int, ...]
    offset: int
    size: int
    path: Path

    @property
    def elements(self) -> int:
        """How many weights it has."""
        count = 1
        for length in self.shape:
            count *= length
        return count


@dataclass(frozen=True)
class Header:
    """What a GGUF file says about itself."""

    path: Path
    metadata: dict[str, Value]
    tensors: dict[str, TensorInfo]

    @property
    def architecture(self) -> str:
        """``general.architecture``, e.g. ``llama``."""
        value = self.metadata.get("general.architecture")
        if not isinstance(value, str) or not value:
            raise IntegrityError(
                t("{path} has no general.architecture", path=self.path),
                hint=t("A GGUF file of a model names its architecture; this one cannot be used."),
            )
        return value


def damaged(path: Path, reason: str, offset: int | None = None) -> IntegrityError:
    """The error for a file that is not what it should be."""
    where = "" if offset is None else t(" (at byte {offset})", offset=offset)
    return IntegrityError(
        t("{path} is not a valid GGUF file: {reason}{where}", path=path, reason=reason, where=where),
        hint=t("Fetch the file again; an incomplete download is the usual cause."),
    )


class _Cursor:
    """Reads forwards and never past the end of the file."""

    def __init__(self, file: BinaryIO, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self.offset = 0
        self._file = file

    def take(self, count: int, what: str) -> bytes:
        """The next ``count`` bytes.

        Raises:
            IntegrityError: the file, or the space allowed for a header, ends before.
        """
        end = self.offset + count
        if end > self.size:
            raise damaged(
                self.path,
                t(
                    "it ends inside {what}: {count} bytes are needed, {left} are left",
                    what=what,
                    count=count,
                    left=self.size - self.offset,
                ),
                self.offset,
            )
        if end > MAX_HEADER_BYTES:
            raise damaged(self.path, t("its header is larger than {limit} bytes", limit=MAX_HEADER_BYTES), self.offset)
        data = self._file.read(count)
        if len(data) != count:
            raise damaged(self.path, t("it became shorter while it was read"), self.offset)
        self.offset = end
        return data

    def number(self, code: str, what: str) -> int:
        return int(struct.unpack("<" + code, self.take(struct.calcsize("<" + code), what))[0])

    def count(self, smallest: int, what: str) -> int:
        """A number of things of which each takes ``smallest`` bytes or more."""
        start = self.offset
        count = self.number("Q", what)
        if count * smallest > self.size - self.offset:
            raise damaged(
                self.path,
                t("{what} is {count}, more than the file can hold", what=what, count=count),
                start,
            )
        return count

    def text(self, what: str, *, limit: int | None = None) -> str:
        start = self.offset
        length = self.number("Q", what)
        if limit is not None and length > limit:
            raise damaged(
                self.path,
                t("{what} has {length} bytes, at most {limit} are allowed", what=what, length=length, limit=limit),
                start,
            )
        try:
            return self.take(length, what).decode("utf-8")
        except UnicodeDecodeError as error:
            raise damaged(self.path, t("{what} is not UTF-8", what=what), start) from error

    def texts(self, count: int, what: str) -> list[str]:
        """``count`` texts. Vocabularies have hundreds of thousands, so this does what :meth:`text` does, in one go."""
        read, unpack = self._file.read, struct.Struct("<Q").unpack
        limit = min(self.size, MAX_HEADER_BYTES)
        texts = []
        offset = self.offset
        try:
            for _ in range(count):
                length = unpack(read(8))[0]
                if offset + 8 + length > limit:
                    break
                texts.append(read(length).decode("utf-8"))
                offset += 8 + length
        except (struct.error, UnicodeDecodeError) as error:
            raise damaged(self.path, t("{what} is damaged", what=what), offset) from error
        if len(texts) < count:
            raise damaged(self.path, t("it ends inside {what}", what=what), offset)
        self.offset = offset
        return texts


def is_gguf(path: Path) -> bool:
    """Whether the file begins like a GGUF file."""
    with path.open("rb") as file:
        return file.read(4) == MAGIC


def read_header(path: Path) -> Header:
    """Read metadata and tensor directory of one file.

    Raises:
        IntegrityError: the file is truncated or contradicts itself; names the byte and what was expected.
        Unsupported: an old or big-endian file, nested arrays, or an unknown tensor type.
    """
    size = path.stat().st_size
    with path.open("rb", buffering=2**18) as file:
        cursor = _Cursor(file, path, size)
        _check_start(cursor)
        tensor_count = cursor.count(8 + 4 + 8 + 4 + 8, t("the number of tensors"))
        key_count = cursor.count(8 + 4 + 1, t("the number of metadata keys"))
        metadata: dict[str, Value] = {}
        for index in range(key_count):
            start = cursor.offset
            key = cursor.text(t("metadata key {index}", index=index), limit=MAX_KEY_BYTES)
            if key in metadata:
                raise damaged(path, t("the metadata key {key!r} comes twice", key=key), start)
            metadata[key] = _read_value(cursor, key)
        entries = [_read_entry(cursor, index) for index in range(tensor_count)]
    alignment = _alignment(path, metadata)
    data_start = -(-cursor.offset // alignment) * alignment
    return Header(path, metadata, _locate(path, entries, data_start, alignment, size))


def _check_start(cursor: _Cursor) -> None:
    if cursor.take(4, t("the file's signature")) != MAGIC:
        raise damaged(cursor.path, t("it does not begin with GGUF"), 0)
    version = cursor.number("I", t("the version"))
    if version in VERSIONS:
        return
    if version & 0xFFFF == 0 and version:
        raise Unsupported(
            t("{path} is a big-endian GGUF file", path=cursor.path),
            hint=t("Convert it with llama.cpp's gguf_convert_endian.py, or fetch the little-endian file."),
        )
    raise Unsupported(
        t("{path} has GGUF version {version}; versions 2 and 3 can be read", path=cursor.path, version=version),
        hint=t("Make the file again with a current llama.cpp."),
    )


def _read_value(cursor: _Cursor, key: str) -> Value:
    what = t("the value of {key}", key=key)
    kind = _value_type(cursor, what)
    if kind is ValueType.STRING:
        return cursor.text(what)
    if kind is not ValueType.ARRAY:
        value = _numbers(cursor, kind, 1, what)[0]
        return bool(value) if kind is ValueType.BOOL else value
    item = _value_type(cursor, what)
    if item is ValueType.ARRAY:
        raise Unsupported(
            t("{path}: {key} is an array of arrays, which no known model uses", path=cursor.path, key=key),
            hint=t("Make the file again with a current llama.cpp."),
        )
    if item is ValueType.STRING:
        count = cursor.count(8, t("the number of items of {key}", key=key))
        return cursor.texts(count, what)
    count = cursor.count(struct.calcsize("<" + _CODES[item]), t("the number of items of {key}", key=key))
    return _numbers(cursor, item, count, what)


def _value_type(cursor: _Cursor, what: str) -> ValueType:
    start = cursor.offset
    number = cursor.number("I", what)
    try:
        return ValueType(number)
    except ValueError as error:
        raise damaged(
            cursor.path, t("{what} has the unknown type {number}", what=what, number=number), start
        ) from error


def _numbers(cursor: _Cursor, kind: ValueType, count: int, what: str) -> Sequence[int] | Sequence[float]:
    """``count`` numbers in an array that takes no more memory than they take in the file."""
    code = _CODES[kind]
    start = cursor.offset
    values: array[int] | array[float] = array(code)
    values.frombytes(cursor.take(count * struct.calcsize("<" + code), what))
    if sys.byteorder == "big":
        values.byteswap()
    if kind is ValueType.BOOL and any(value > 1 for value in values):
        raise damaged(cursor.path, t("{what} is neither true nor false", what=what), start)
    return values


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    type: TensorType
    shape: tuple[int, ...]
    offset: int  # from the start of the data
    size: int
    at: int  # where the entry stands in the file


def _read_entry(cursor: _Cursor, index: int) -> _Entry:
    at = cursor.offset
    what = t("entry {index} of the tensor directory", index=index)
    name = cursor.text(what, limit=MAX_KEY_BYTES)
    what = t("the directory entry of tensor {name!r}", name=name)
    dimensions = cursor.number("I", what)
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise damaged(
            cursor.path,
            t("tensor {name!r} has {count} dimensions, 1 to 4 are allowed", name=name, count=dimensions),
            at,
        )
    lengths = [cursor.number("Q", what) for _ in range(dimensions)]
    number = cursor.number("I", what)
    offset = cursor.number("Q", what)
    kind = TENSOR_TYPES.get(number)
    if kind is None:
        raise Unsupported(
            t("{path}: tensor {name!r} has the unknown type {number}", path=cursor.path, name=name, number=number),
            hint=t("The file is damaged, or newer than this version of LLMasOS."),
        )
    elements = 1
    for length in lengths:
        elements *= length
    # Every weight takes at least a bit, so this also keeps absurd dimensions out of all later arithmetic.
    if elements == 0 or elements > cursor.size * 8:
        raise damaged(
            cursor.path, t("tensor {name!r} has the impossible shape {shape}", name=name, shape=lengths[::-1]), at
        )
    if lengths[0] % kind.block:
        raise damaged(
            cursor.path,
            t(
                "tensor {name!r}: rows of {length} weights cannot be stored in blocks of {block}",
                name=name,
                length=lengths[0],
                block=kind.block,
            ),
            at,
        )
    return _Entry(name, kind, tuple(reversed(lengths)), offset, elements // kind.block * kind.size, at)


def _alignment(path: Path, metadata: dict[str, Value]) -> int:
    value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0 or value & (value - 1) or value > 2**20:
        raise damaged(path, t("general.alignment is {value!r}, a power of two is needed", value=value))
    return value


def _locate(path: Path, entries: list[_Entry], data_start: int, alignment: int, size: int) -> dict[str, TensorInfo]:
    """Check that all tensors lie inside the file and apart from each other.

    Tensors that share bytes would let a small file unpack into a huge one, and no writer makes such files.
    """
    tensors: dict[str, TensorInfo] = {}
    for entry in entries:
        if entry.name in tensors:
            raise damaged(path, t("the tensor {name!r} comes twice", name=entry.name), entry.at)
        start = data_start + entry.offset
        if entry.offset % alignment:
            raise damaged(
                path,
                t(
                    "tensor {name!r} begins at {offset}, which is not a multiple of {alignment}",
                    name=entry.name,
                    offset=start,
                    alignment=alignment,
                ),
                entry.at,
            )
        if start + entry.size > size:
            raise damaged(
                path,
                t(
                    "tensor {name!r} needs bytes {start} to {end}, but the file has {size}",
                    name=entry.name,
                    start=start,
                    end=start + entry.size,
                    size=size,
                ),
                entry.at,
            )
        tensors[entry.name] = TensorInfo(entry.name, entry.type, entry.shape, start, entry.size, path)
    ordered = sorted(tensors.values(), key=lambda tensor: tensor.offset)
    for first, second in pairwise(ordered):
        if first.offset + first.size > second.offset:
            raise damaged(
                path,
                t("the tensors {first!r} and {second!r} overlap", first=first.name, second=second.name),
                second.offset,
            )
    return tensors
