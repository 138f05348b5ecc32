"""Reading: the records of a piece, whatever its format."""

from __future__ import annotations

from llmasos.data.sources.plan import FilePlan, Piece, Reading
from llmasos.data.sources.readers.columnar import read_arrow, read_parquet
from llmasos.data.sources.readers.documents import read_aligned, read_html, read_markdown, read_pdf, read_text
from llmasos.data.sources.readers.json_files import read_json, read_json_lines
from llmasos.data.sources.readers.tables import read_header, read_table
from llmasos.data.sources.record import Items


def read_piece(file: FilePlan, piece: Piece, reading: Reading) -> Items:
    """The records of a piece in order, and what in it cannot be read.

    Raises:
        IntegrityError: the file is damaged in a way that leaves nothing to go on with.
    """
    if file.second is not None:
        return read_aligned(file)
    if file.format == "jsonl":
        return read_json_lines(file, piece)
    if file.format == "json":
        return read_json(file, reading)
    if file.format in ("csv", "tsv"):
        return read_table(file, piece, reading, read_header(file, reading))
    if file.format == "parquet":
        return read_parquet(file, piece)
    if file.format == "arrow":
        return read_arrow(file, piece)
    if file.format == "text":
        return read_text(file, piece, reading)
    if file.format == "markdown":
        return read_markdown(file)
    if file.format == "html":
        return read_html(file)
    assert file.format == "pdf"
    return read_pdf(file)
