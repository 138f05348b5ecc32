"""SHA-256 digests in the OCI spelling ``sha256:<64 hex digits>``: the identity of blobs and versions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
CHUNK = 1 << 20  # bytes read at a time: large enough that hashing, not the loop, sets the speed


def is_digest(text: str) -> bool:
    """Whether ``text`` is a complete digest."""
    return _DIGEST.fullmatch(text) is not None


def digest_of(data: bytes) -> str:
    """The digest of some bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_of_file(path: Path, advance: Callable[[int], None] | None = None) -> str:
    """The digest of a file's bytes. ``advance`` is told the bytes that were read, a mebibyte at a time."""
    with path.open("rb") as file:
        if advance is None:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        hasher = hashlib.sha256()
        while chunk := file.read(CHUNK):
            hasher.update(chunk)
            advance(len(chunk))
        return "sha256:" + hasher.hexdigest()


def hex_of(digest: str) -> str:
    """The hexadecimal part, which names the blob's file.

    Raises:
        ValueError: ``digest`` is not a digest; callers validate what comes from outside first.
    """
    if not is_digest(digest):
        raise ValueError(f"not a sha256 digest: {digest!r}")
    return digest.removeprefix("sha256:")


def short(digest: str) -> str:
    """The first twelve hexadecimal digits, for people to read."""
    return digest.removeprefix("sha256:")[:12]
