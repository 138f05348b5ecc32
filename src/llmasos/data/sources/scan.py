"""Looking at every byte of a file once: its digest, encoding, and where it may be cut."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmasos.data.sources.compression import SUFFIXES, compression_of, open_plain
from llmasos.data.sources.config import FileFormat
from llmasos.data.sources.encoding import Encoding, EncodingObserver, marked_encoding
from llmasos.data.sources.plan import FilePlan, Piece
from llmasos.data.sources.readers.columnar import parquet_pieces
from llmasos.data.sources.readers.json_files import looks_like_json_lines

_CHUNK = 1 << 22

_FORMATS: dict[str, FileFormat] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv",
    ".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow", ".txt": "text", ".text": "text",
    ".md": "markdown", ".markdown": "markdown", ".html": "html", ".htm": "html", ".xhtml": "html", ".pdf": "pdf",
}  # fmt: skip
_TEXT_FORMATS = ("jsonl", "json", "csv", "tsv", "text", "markdown")

ENDINGS: tuple[str, ...] = tuple(_FORMATS)
"""Endings of names that tell a format; one of :data:`~llmasos.data.sources.compression.SUFFIXES` may follow."""


def ending_of(name: str) -> str | None:
    """The ending that tells the format of a file of this name, with that of its compression: ``.csv.gz``; ``None`` if
    no format is known by it."""
    path = Path(name)
    compressed = path.suffix if path.suffix.lower() in SUFFIXES else ""
    ending = Path(path.stem).suffix if compressed else path.suffix
    return ending + compressed if ending.lower() in _FORMATS else None


def format_of(path: Path) -> FileFormat | None:
    """The format of a file by its name, compression aside; ``None`` if it is not known."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in SUFFIXES:
        suffixes.pop()
    found = _FORMATS.get(suffixes[-1]) if suffixes else None
    if found == "json":
        with open_plain(path) as file:
            return "jsonl" if looks_like_json_lines(iter(file.readline, b"")) else "json"
    return found


@dataclass(frozen=True)
class Scan:
    """What the bytes of a text file are. ``cuts`` are (byte, line number) pairs where a piece may begin."""

    digest: str
    encoding: Encoding
    lines: int
    cuts: tuple[tuple[int, int], ...]


def scan_file(
    path: Path,
    name: str,
    file_format: FileFormat,
    *,
    encoding: str | None,
    cut_lines: bool,
    piece_bytes: int,
    advance: Callable[[int], None],
    digest: str | None = None,
) -> FilePlan:
    """Look at a file.

    Args:
        encoding: the encoding, where it is given.
        cut_lines: whether its lines are records, so that it may be cut between them.
        advance: told the number of bytes that have been looked at, for progress.
        digest: of the file's bytes, where it is known.
    """
    size = path.stat().st_size
    compression = compression_of(path)
    if file_format not in _TEXT_FORMATS:
        pieces = parquet_pieces(path, piece_bytes) if file_format == "parquet" else [Piece(size=size)]
        if digest is not None:
            advance(size)
        return FilePlan(
            path=str(path), name=name, size=size, digest=digest or _digest(path, advance), format=file_format,
            compression=compression, pieces=tuple(pieces),
        )  # fmt: skip
    scan = scan_text(path, encoding=encoding, piece_bytes=piece_bytes, advance=advance)
    cuts = scan.cuts if cut_lines and compression == "none" and scan.encoding.line_based else scan.cuts[:1]
    ends = [*(start for start, _ in cuts[1:]), size]
    pieces = [
        Piece(start=start, end=end if len(cuts) > 1 else None, first_line=line, size=end - start)
        for (start, line), end in zip(cuts, ends, strict=True)
    ]
    return FilePlan(
        path=str(path), name=name, size=size, digest=scan.digest, format=file_format, compression=compression,
        encoding=scan.encoding.name, encoding_certain=scan.encoding.certain,
        undecodable_lines=scan.encoding.broken_lines, pieces=tuple(pieces),
    )  # fmt: skip


def scan_text(path: Path, *, encoding: str | None, piece_bytes: int, advance: Callable[[int], None]) -> Scan:
    """Read a text file to its end once (twice if it is compressed: once for the digest of what is stored)."""
    compressed = compression_of(path) != "none"
    digest = hashlib.sha256()
    observer = EncodingObserver()
    marked: str | None = None
    position, lines, next_cut = 0, 0, piece_bytes
    cuts = [(0, 1)]
    rest = b""
    with open_plain(path) as file:
        while chunk := file.read(_CHUNK):
            if position == 0:
                marked = marked_encoding(chunk)
            if not compressed:
                digest.update(chunk)
                advance(len(chunk))
            while position + len(chunk) > next_cut:
                at = chunk.find(b"\n", max(next_cut - position, 0)) + 1
                if not at:
                    break
                cuts.append((position + at, lines + chunk.count(b"\n", 0, at) + 1))
                next_cut = position + at + piece_bytes
            position += len(chunk)
            lines += chunk.count(b"\n")
            if encoding is None and marked is None:
                rest = _observe(observer, rest, chunk)
    if rest:
        observer.see([rest])
    if cuts[-1][0] == position and len(cuts) > 1:
        cuts.pop()
    # The last line may have no line feed, which the count above cannot see.
    found = Encoding(encoding) if encoding else Encoding(marked) if marked else observer.conclude()
    stored = _digest(path, advance) if compressed else f"sha256:{digest.hexdigest()}"
    return Scan(stored, found, lines, tuple(cuts))


def _observe(observer: EncodingObserver, rest: bytes, chunk: bytes) -> bytes:
    """Show whole lines to the observer; returns the beginning of a line that the chunk cuts."""
    if not rest and chunk.isascii():
        return b""
    head, feed, tail = (rest + chunk).rpartition(b"\n")
    if feed:
        observer.see(head.split(b"\n"))
    return tail


def count_lines(path: Path) -> int:
    """The number of lines; a last one without a line feed counts."""
    count, last = 0, b"\n"
    with open_plain(path) as file:
        while chunk := file.read(_CHUNK):
            count += chunk.count(b"\n")
            last = chunk[-1:]
    return count + (last != b"\n")


def _digest(path: Path, advance: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            advance(len(chunk))
    return f"sha256:{digest.hexdigest()}"
