"""The configuration of sources: what to read and how."""

from __future__ import annotations

import codecs
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from llmasos.data.sources.layout import Layout
from llmasos.recipe.unions import default_tag

FileFormat = Literal["jsonl", "json", "csv", "tsv", "parquet", "arrow", "text", "markdown", "html", "pdf"]


class _Source(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = Field(
        None,
        min_length=1,
        description="Name of the source in the report and in weights; default: made from its path or reference.",
    )
    layout: Layout | None = Field(
        None, description="Which columns make a sample of which kind; default: recognised from the first records."
    )
    metadata: tuple[str, ...] = Field((), description="Columns to keep beside the sample, to group or split by.")
    into: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_]+$",
        description="Split that all rows of this source go to, such as validation; default: train, which may be split.",
    )


def _known_encoding(name: str | None) -> str | None:
    if name is not None:
        try:
            codecs.lookup(name)
        except LookupError:
            raise ValueError(f"{name!r} is no encoding; names are those of Python, such as gb18030") from None
    return name


EncodingName = Annotated[str | None, AfterValidator(_known_encoding)]


class FileSource(_Source):
    """Files, a folder of files, or a pattern such as `data/*.jsonl.gz`."""

    source: Literal["files"] = "files"
    path: str | tuple[str, ...] = Field(
        description="File, folder or pattern (*, ?, [], **), or several; relative to the recipe."
    )
    format: FileFormat | None = Field(None, description="Format of the files; default: by name and content.")
    encoding: EncodingName = Field(None, description="Encoding of text files; default: detected and reported.")
    columns: tuple[str, ...] | None = Field(
        None, description="Names of the columns of CSV or TSV files that have no line of names."
    )
    delimiter: str | None = Field(None, min_length=1, max_length=1, description="Separator of CSV or TSV columns.")
    quote: str | None = Field(
        None, max_length=1, description='Quotation mark of CSV or TSV; empty: none. Default: " in CSV, none in TSV.'
    )
    records: str | None = Field(None, description="Where in a JSON object the list of records is, such as data.rows.")
    document: Literal["file", "paragraph", "line"] = Field(
        "file", description="What makes a document of a text file: the whole file, a paragraph or a line."
    )


class AlignedSource(_Source):
    """Two text files of which line N of one belongs to line N of the other, as in translation corpora."""

    source: Literal["aligned"] = "aligned"
    first: str = Field(description="File of the source side; relative to the recipe.")
    second: str = Field(description="File of the target side, with as many lines.")
    first_language: str | None = Field(None, description="Language of the source side, such as en.")
    second_language: str | None = Field(None, description="Language of the target side, such as de.")
    encoding: EncodingName = Field(None, description="Encoding of both files; default: detected and reported.")


class HubSource(_Source):
    """A data set of the Hugging Face hub, or a folder of its layout, read through the package datasets."""

    source: Literal["hub"] = "hub"
    dataset: str = Field(description="Name on the hub such as org/name, or a local folder.")
    subset: str | None = Field(None, description="Configuration of the data set.")
    split: str = Field("train", description="Which of its splits.")
    revision: str | None = Field(None, description="Commit, tag or branch; a commit makes it reproducible.")


class LibrarySource(_Source):
    """A data set of the library, made by `llmasos data prepare` or pulled."""

    source: Literal["library"] = "library"
    reference: str = Field(description="Name such as my/data:latest, or a digest.")
    split: str = Field("train", description="Which of its splits.")


Source = Annotated[
    Annotated[FileSource | AlignedSource | HubSource | LibrarySource, Field(discriminator="source")],
    default_tag("source", "files"),
]
