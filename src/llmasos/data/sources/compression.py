"""Opening files that may be compressed. What decides is how the file begins, not its name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, cast

from llmasos.errors import IntegrityError
from llmasos.i18n import t

Compression = Literal["none", "gzip", "bzip2", "xz", "zstd"]

_MAGIC: tuple[tuple[bytes, Compression], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
SUFFIXES = (".gz", ".bz2", ".xz", ".zst")


def compression_of(path: Path) -> Compression:
    """How a file is compressed, by its first bytes."""
    with path.open("rb") as file:
        head = file.read(6)
    return next((name for magic, name in _MAGIC if head.startswith(magic)), "none")


@contextmanager
def open_plain(path: Path, *, start: int = 0) -> Iterator[BinaryIO]:
    """The uncompressed bytes of a file, from the byte ``start``, which must be 0 where it is compressed.

    Raises:
        IntegrityError: the compressed data are damaged or end too soon (also while the block reads).
    """
    kind = compression_of(path)
    assert kind == "none" or start == 0
    try:
        with _open(path, kind) as file:
            if start:
                file.seek(start)
            yield file
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise _damaged(path, error) from error
    except OSError as error:
        if kind == "none" or error.errno is not None:
            raise
        raise _damaged(path, error) from error


def _open(path: Path, kind: Compression) -> BinaryIO:
    if kind == "gzip":
        return cast(BinaryIO, gzip.open(path, "rb"))
    if kind == "bzip2":
        return cast(BinaryIO, bz2.open(path, "rb"))
    if kind == "xz":
        return cast(BinaryIO, lzma.open(path, "rb"))
    if kind == "zstd":
        import pyarrow

        # Arrow's stream reads blocks only; the buffer adds lines.
        return cast(BinaryIO, io.BufferedReader(pyarrow.input_stream(str(path), compression="zstd"), 1 << 20))
    return path.open("rb")


def _damaged(path: Path, error: Exception) -> IntegrityError:
    return IntegrityError(
        t("{path} is damaged: {problem}", path=path, problem=str(error) or type(error).__name__),
        hint=t("Fetch or compress the file again."),
    )
