"""The header of a safetensors file: names, types and shapes of its tensors, without reading the tensors.

Format: eight bytes, the header's length as a little-endian integer; the header, JSON that maps each name to
``{"dtype", "shape", "data_offsets": [begin, end]}`` relative to the end of the header; the tensors' bytes.
The file may come from anybody, so every offset is checked before it is used.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from llmasos.errors import IntegrityError
from llmasos.i18n import t
from llmasos.library.digest import CHUNK
from llmasos.library.manifest import parse_json

MAX_HEADER = 100 * 2**20  # the limit of the reference implementation

BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I8", "U8", "BOOL"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


@dataclass(frozen=True)
class TensorEntry:
    """One tensor: ``begin`` and ``end`` are byte offsets from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count


def read_header(path: Path, *, name: str | None = None) -> tuple[dict[str, TensorEntry], dict[str, str]]:
    """The tensors of a safetensors file by name, and its metadata.

    Args:
        name: what errors call the file, where its path (a blob) says nothing to people.

    Raises:
        IntegrityError: the file is truncated or its header is not valid.
    """
    shown = name or str(path)
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(MAX_HEADER, size - 8):
            raise _invalid(shown, t("its header is cut off or too long"))
        try:
            document = parse_json(file.read(length))
        except IntegrityError as error:
            raise _invalid(shown, error.message) from error
    if not isinstance(document, dict):
        raise _invalid(shown, t("its header is not a JSON object"))
    metadata = document.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _invalid(shown, t("its metadata is not an object of texts"))
    return {tensor: _entry(shown, tensor, value, 8 + length, size) for tensor, value in document.items()}, metadata


def _entry(shown: str, name: str, value: Any, data: int, size: int) -> TensorEntry:
    try:
        dtype, shape, (begin, end) = value["dtype"], value["shape"], value["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise _invalid(shown, t("the entry of tensor {name!r} is incomplete", name=name)) from error
    if not isinstance(shape, list) or not all(_is_natural(number) for number in (*shape, begin, end)):
        raise _invalid(shown, t("tensor {name!r} has a shape or offsets that are not numbers", name=name))
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _invalid(shown, t("tensor {name!r} has the unknown type {dtype!r}", name=name, dtype=dtype))
    entry = TensorEntry(dtype, tuple(shape), data + begin, data + end)
    if begin > end or entry.end > size:
        raise _invalid(shown, t("tensor {name!r} reaches beyond the end of the file", name=name))
    if (end - begin) * 8 != entry.elements * BITS[dtype]:
        raise _invalid(shown, t("tensor {name!r} has another number of bytes than its shape needs", name=name))
    return entry


def _is_natural(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _invalid(shown: str, reason: str) -> IntegrityError:
    return IntegrityError(
        t("{path} is not a valid safetensors file: {reason}", path=shown, reason=reason),
        hint=t("The file is damaged or truncated; get it again."),
    )


def tensor_digest(file: BinaryIO, entry: TensorEntry) -> str:
    """The SHA-256 of a tensor's bytes in an open file."""
    hasher = hashlib.sha256()
    file.seek(entry.begin)
    left = entry.end - entry.begin
    while left:
        chunk = file.read(min(CHUNK, left))
        if not chunk:
            raise IntegrityError(
                t("the file ended inside a tensor"), hint=t("The file is damaged or truncated; get it again.")
            )
        hasher.update(chunk)
        left -= len(chunk)
    return "sha256:" + hasher.hexdigest()
