"""What a task says of its data: files by split, where each comes from, its checksum, and the licence."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from llmasos.recipe.unions import default_tag

DataFormat = Literal["jsonl", "json", "csv", "tsv", "parquet", "text"]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the file; default: it is not checked, which is said."
    )
    name: str | None = Field(
        None, description="Name under which it is looked for in the folder given by --data; default: its own name."
    )
    format: DataFormat | None = Field(None, description="Format; default: by the file's name.")
    records: str | None = Field(None, description="Where in a JSON object the list of rows is, such as data.rows.")
    columns: tuple[str, ...] | None = Field(None, description="Names of the columns of a CSV or TSV without names.")
    delimiter: str | None = Field(None, min_length=1, max_length=1, description="Separator of CSV or TSV columns.")
    quote: str | None = Field(
        None, max_length=1, description='Quotation mark of CSV or TSV; empty: none. Default: " in CSV, none in TSV.'
    )
    document: Literal["line", "paragraph", "file"] = Field(
        "line", description="What makes a row of a text file: a line, a paragraph or the whole file."
    )
    encoding: str | None = Field(None, description="Encoding of a text file; default: detected.")
    member: str | None = Field(None, description="File inside a zip or tar archive.")
    add: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="Columns added to every row of this file, such as the subject."
    )


class HubFile(_File):
    """A file of a data set on Hugging Face."""

    source: Literal["huggingface"] = "huggingface"
    repository: str = Field(description="Name on the hub, such as allenai/ai2_arc.")
    revision: str = Field("main", description="Commit, tag or branch; a commit makes it reproducible.")
    path: str = Field(description="Path of the file in the repository.")


class UrlFile(_File):
    """A file that is downloaded."""

    source: Literal["url"] = "url"
    url: str = Field(pattern=r"^https?://", description="Address of the file.")


class LocalFile(_File):
    """A file on this machine, relative to the task file or to the folder given by --data."""

    source: Literal["file"] = "file"
    path: str = Field(description="Path of the file.")


SingleFile: TypeAlias = Annotated[
    Annotated[HubFile | UrlFile | LocalFile, Field(discriminator="source")], default_tag("source", "file")
]


class AlignedFiles(BaseModel):
    """Text files of which line N belongs together, as in translation corpora; each becomes a column."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Literal["aligned"] = "aligned"
    files: dict[str, SingleFile] = Field(min_length=2, description="The file of each column.")


class LibraryData(BaseModel):
    """A data set of the library, made by `llmasos data prepare` or pulled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Literal["library"] = "library"
    reference: str = Field(description="Name such as my/data:latest, or a digest.")
    split: str = Field("test", description="Which of its splits.")


DataFile: TypeAlias = Annotated[
    Annotated[HubFile | UrlFile | LocalFile | AlignedFiles | LibraryData, Field(discriminator="source")],
    default_tag("source", "file"),
]


def _one_or_many(given: object) -> object:
    return [given] if isinstance(given, dict | str) else given


def _path(given: object) -> object:
    if not isinstance(given, list | tuple):
        return given
    return [{"path": item} if isinstance(item, str) else item for item in given]


DataFiles: TypeAlias = Annotated[tuple[DataFile, ...], BeforeValidator(_path), BeforeValidator(_one_or_many)]


class Data(BaseModel):
    """Where the rows come from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    splits: dict[str, DataFiles] = Field(description="Files of each split: test, few_shot, or names of your own.")
    evaluate: str = Field("test", description="Split that is evaluated.")
    sample: LocalFile | None = Field(
        None, description="A few made-up rows that come with the task, used for both splits with --sample."
    )
    where: str | None = Field(
        None, description="Template that says whether a row is used, such as {{subject == 'anatomy'}}; default: all."
    )
    where_few_shot: bool = Field(True, description="Whether `where` also chooses among the rows of examples.")
    id: str | None = Field(
        None, description="Template that names a row in reports, such as {{task_id}}; default: its number."
    )
    license: str | None = Field(None, description="Licence of the data: an SPDX identifier or its own name.")
    homepage: str | None = Field(None, description="Where the data is described.")
    citation: str | None = Field(None, description="The paper to cite.")

    @model_validator(mode="after")
    def _split_exists(self) -> Data:
        if self.evaluate not in self.splits:
            raise ValueError(f"evaluate names {self.evaluate!r}, which is no split ({', '.join(self.splits)})")
        return self
