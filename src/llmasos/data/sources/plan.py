"""The plan of a preparation: which files, in which format and encoding, read as what, cut into which shards."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from llmasos.data.sources.config import FileFormat
from llmasos.data.sources.layout import Layout


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Piece(_Document):
    """A part of a file that can be read by itself.

    Attributes:
        start, end: bytes of a file of lines, row groups of Parquet, record batches of Arrow; the whole file: 0, None.
        first_line: line or record number of its first record, from 1.
        size: bytes on disk, to balance shards.
    """

    start: int = 0
    end: int | None = None
    first_line: int = 1
    size: int


class Reading(_Document):
    """How to read the files of a format; see :class:`llmasos.data.sources.config.FileSource`."""

    columns: tuple[str, ...] | None = None
    delimiter: str | None = None
    quote: str | None = None
    records: str | None = None
    document: str = "file"


class FilePlan(_Document):
    """One file.

    Attributes:
        name: how rows name it: its path below the folder of the source.
        digest: ``sha256:...`` of its bytes as they are stored.
        encoding: ``None`` for formats that are no text.
        encoding_certain: whether the encoding was marked, given or fits every byte; else it was guessed.
        undecodable_lines: lines that the encoding does not fit.
        second: the file that is aligned with this one.
    """

    path: str
    name: str
    size: int
    digest: str
    format: FileFormat
    compression: str = "none"
    encoding: str | None = None
    encoding_certain: bool = True
    undecodable_lines: int = 0
    pieces: tuple[Piece, ...] = ()
    second: str | None = None
    second_encoding: str | None = None


class SourcePlan(_Document):
    """One source.

    Attributes:
        recognised: the name of the layout if it was recognised rather than given: ``alpaca``, ``ShareGPT``.
        unused_columns: columns of the first records that neither the sample nor the metadata use.
        skipped_files: files of a folder whose format is unknown.
        prepared: whether it was prepared here, so that its columns ``metadata``, ``id`` and ``origin`` are ours.
    """

    name: str
    layout: Layout
    recognised: str | None
    metadata: tuple[str, ...]
    into: str
    unused_columns: tuple[str, ...]
    reading: Reading
    files: tuple[FilePlan, ...]
    skipped_files: tuple[str, ...] = ()
    prepared: bool = False
    reference: str | None = None
    reference_digest: str | None = None


class ShardPiece(_Document):
    """A piece by its indices in the plan."""

    source: int
    file: int
    piece: int


class Plan(_Document):
    """Everything that reading needs; the same for every run over the same files.

    ``shards`` lists the pieces of each shard, all in the order of the sources, files and lines.
    """

    sources: tuple[SourcePlan, ...]
    shards: tuple[tuple[ShardPiece, ...], ...]

    def piece(self, item: ShardPiece) -> tuple[SourcePlan, FilePlan, Piece]:
        source = self.sources[item.source]
        file = source.files[item.file]
        return source, file, file.pieces[item.piece]


def cut_into_shards(sources: tuple[SourcePlan, ...], shard_bytes: int) -> tuple[tuple[ShardPiece, ...], ...]:
    """Gather consecutive pieces into shards of at least ``shard_bytes``, in order."""
    shards: list[tuple[ShardPiece, ...]] = []
    current: list[ShardPiece] = []
    size = 0
    for source_index, source in enumerate(sources):
        for file_index, file in enumerate(source.files):
            for piece_index, piece in enumerate(file.pieces):
                current.append(ShardPiece(source=source_index, file=file_index, piece=piece_index))
                size += piece.size
                if size >= shard_bytes:
                    shards.append(tuple(current))
                    current, size = [], 0
    if current:
        shards.append(tuple(current))
    return tuple(shards)
