"""Lines of text files, decoded one by one so that a line that cannot be decoded is lost alone, and named."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from llmasos.data.sources.compression import open_plain
from llmasos.data.sources.encoding import Encoding
from llmasos.data.sources.plan import Piece
from llmasos.data.sources.record import Broken


def raw_lines(path: Path, piece: Piece) -> Iterator[tuple[int, bytes]]:
    """(line number, bytes with the line feed) of every line of the piece."""
    number = piece.first_line
    position = piece.start
    with open_plain(path, start=piece.start) as file:
        for line in file:
            yield number, line
            number += 1
            position += len(line)
            if piece.end is not None and position >= piece.end:
                return


def decoded_lines(path: Path, piece: Piece, encoding: str) -> Iterator[tuple[int, str | Broken]]:
    """(line number, text without the line end) of every line of the piece, or what cannot be decoded."""
    if not Encoding(encoding).line_based:
        with open_plain(path) as file:
            text = io.TextIOWrapper(file, encoding=encoding, errors="replace", newline="\n")
            for number, line in enumerate(text, start=1):
                plain = line.rstrip("\r\n")
                yield number, undecodable(number, plain, encoding) if "\ufffd" in plain else plain
        return
    plain_encoding = "utf-8" if encoding == "utf-8-sig" else encoding
    for number, raw in raw_lines(path, piece):
        stripped = raw.rstrip(b"\r\n")
        if number == 1 and encoding == "utf-8-sig":
            stripped = stripped.removeprefix(b"\xef\xbb\xbf")
        try:
            yield number, stripped.decode(plain_encoding)
        except UnicodeDecodeError as error:
            yield (
                number,
                undecodable(number, stripped.decode(plain_encoding, "backslashreplace"), encoding, error.start),
            )


def undecodable(number: int, raw: str, encoding: str, position: int | None = None) -> Broken:
    """The item for a line that is not in the file's encoding."""
    where = f" at byte {position} of the line" if position is not None else ""
    return Broken(number, "undecodable", f"not {encoding}{where}", raw)
