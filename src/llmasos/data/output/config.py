"""The configuration of the output."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

OutputFormat = Literal["parquet", "jsonl", "arrow"]


class Output(BaseModel):
    """How the prepared rows are written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: OutputFormat = Field("parquet", description="Format of the files of the data set.")
    rows_per_file: int = Field(100_000, ge=1, description="Most rows of one file.")
    shuffle: bool = Field(False, description="Shuffle the rows of each split by the seed; default: order of the files.")
