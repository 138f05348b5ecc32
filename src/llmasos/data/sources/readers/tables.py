"""CSV and TSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from llmasos.data.sources.plan import FilePlan, Piece, Reading
from llmasos.data.sources.readers.lines import decoded_lines
from llmasos.data.sources.record import Broken, Items, Record


def delimiter_of(file: FilePlan, reading: Reading) -> str:
    return reading.delimiter or ("\t" if file.format == "tsv" else ",")


def quote_of(file: FilePlan, reading: Reading) -> str:
    """The quotation mark; empty where there is none, which is how TSV files are written as a rule."""
    return reading.quote if reading.quote is not None else ("" if file.format == "tsv" else '"')


def read_table(file: FilePlan, piece: Piece, reading: Reading, header: tuple[str, ...]) -> Items:
    """The records of a table. The line of names, where the file has one, is left out.

    Args:
        header: the names of the columns.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    quote = quote_of(file, reading)
    lines = _Lines(decoded_lines(Path(file.path), piece, file.encoding or "utf-8"))
    reader = csv.reader(
        lines,
        delimiter=delimiter_of(file, reading),
        quotechar=quote or None,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        strict=True,
    )
    while True:
        lines.begin_record()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            count = lines.last - lines.first + 1
            span = f"; {count} lines read as one record" if count > 1 else ""
            yield Broken(lines.first, "broken_csv", f"{error}{span}", "\n".join(lines.raw))
            continue
        if lines.broken is not None:
            yield lines.broken
        elif not cells or (lines.first == 1 and reading.columns is None):
            continue
        elif len(cells) != len(header):
            detail = f"{len(cells)} columns, expected {len(header)}"
            yield Broken(lines.first, "wrong_number_of_columns", detail, "\n".join(lines.raw))
        else:
            yield Record(lines.first, dict(zip(header, cells, strict=True)))


def read_header(file: FilePlan, reading: Reading) -> tuple[str, ...]:
    """The names of the columns: those given, else the first line."""
    if reading.columns is not None:
        return reading.columns
    quote = quote_of(file, reading)
    for _, line in decoded_lines(Path(file.path), Piece(size=0), file.encoding or "utf-8"):
        if isinstance(line, str):
            cells = next(
                csv.reader(
                    [line],
                    delimiter=delimiter_of(file, reading),
                    quotechar=quote or None,
                    quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
                ),
                [],
            )
            return tuple(cell.strip() for cell in cells)
        break
    return ()


class _Lines:
    """Feeds lines to the csv module and remembers which of them make up the current record."""

    def __init__(self, lines: Iterator[tuple[int, str | Broken]]) -> None:
        self._lines = lines
        self.first = self.last = 0
        self.raw: list[str] = []
        self.broken: Broken | None = None

    def begin_record(self) -> None:
        self.first = self.last = 0
        self.raw = []
        self.broken = None

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        number, line = next(self._lines)
        self.first = self.first or number
        self.last = number
        if isinstance(line, Broken):
            self.broken = line
            line = line.raw
        self.raw.append(line)
        return line + "\n"
