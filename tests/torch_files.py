"""Checkpoints written by ``torch.save``, and pickles that no honest program writes."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch

MAGIC = 0x1950A86A20F9469CFC6C


def save(content: Any, path: Path, *, legacy: bool = False) -> Path:
    """``torch.save`` in the zip or the old format."""
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


class Raw:
    """Assembles a pickle from instructions, for what ``pickle.dumps`` refuses to write."""

    def __init__(self) -> None:
        self.parts = [b"\x80\x02"]

    def add(self, *parts: bytes) -> Raw:
        self.parts += parts
        return self

    def text(self, value: str) -> Raw:
        raw = value.encode()
        return self.add(b"X" + struct.pack("<I", len(raw)) + raw)

    def name(self, module: str, name: str) -> Raw:
        return self.add(f"c{module}\n{name}\n".encode())

    def done(self) -> bytes:
        return b"".join(self.parts) + b"."


def zip_file(path: Path, pickled: bytes, storages: dict[str, bytes] | None = None, **entries: bytes) -> Path:
    """A file like that of ``torch.save`` around any pickle; ``entries`` are further records."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, data in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", data)
        for name, data in entries.items():
            archive.writestr(f"archive/{name}", data)
    return path


def legacy_file(path: Path, pickled: bytes, keys: list[str] | None = None, data: bytes = b"") -> Path:
    """A file of the old format around any pickle."""
    head = [MAGIC, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}]
    parts = [pickle.dumps(value, protocol=2) for value in head]
    path.write_bytes(b"".join([*parts, pickled, pickle.dumps(keys or [], protocol=2), data]))
    return path


def tensor_pickle(
    shape: tuple[int, ...] = (4,),
    strides: tuple[int, ...] = (1,),
    *,
    elements: int = 4,
    offset: int = 0,
    key: str = "0",
    storage: str = "FloatStorage",
    names: tuple[str, ...] = ("weight",),
) -> bytes:
    """The pickle of ``{name: tensor, ...}`` over one storage, with any numbers in it."""

    class Reference:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            if isinstance(value, Reference):
                return ("storage", getattr(torch, storage), key, "cpu", elements)
            return None

        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, Tensor):
                import torch._utils

                return (torch._utils._rebuild_tensor_v2, (Reference(), offset, shape, strides, False, {}))
            return NotImplemented

    class Tensor:
        pass

    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump({name: Tensor() for name in names})
    return buffer.getvalue()
