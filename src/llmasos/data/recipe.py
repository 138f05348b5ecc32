"""The recipe of a data preparation (``kind: data``)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmasos.data.output.config import Output
from llmasos.data.pipeline.execution import Execution, LocalExecution
from llmasos.data.rendering.options import RenderingOptions
from llmasos.data.sources.config import Source
from llmasos.data.splitting.config import Mixture, Split
from llmasos.data.step import StepConfig
from llmasos.data.steps import Step
from llmasos.recipe.loading import Recipe


class Tokens(BaseModel):
    """Count tokens as training will see them, and reject rows that a model cannot be trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(description="Model whose tokenizer and chat template are used, by name, source or folder.")
    rendering: RenderingOptions = Field(
        default_factory=RenderingOptions,
        description="How rows become tokens: length, what is learned, what is dropped.",
    )


class DataRecipe(Recipe):
    """From raw files to a data set that is ready for training."""

    kind: Literal["data"] = Field(description="The task: data.")
    name: str | None = Field(
        None, description="Name of the data set in the library, such as my/alpaca:clean; default: it gets no name."
    )
    description: str | None = Field(None, description="One or two sentences for the card.")
    license: str | None = Field(None, description="Licence of the result: an SPDX identifier or its own name.")
    languages: tuple[str, ...] = Field((), description="Languages of the result as ISO 639 codes, for the card.")
    seed: int = Field(42, ge=0, description="Seed of everything that is chosen by chance.")
    sources: tuple[Source, ...] = Field(min_length=1, description="What to read, in this order.")
    steps: tuple[Step, ...] = Field((), description="What to do with the rows, in this order.")
    tokens: Tokens | None = Field(None, description="The model that the rows are for; default: tokens are not counted.")
    split: Split | None = Field(None, description="How to divide the rows; default: all are train.")
    mix: Mixture | None = Field(None, description="How much of each source goes into train; default: each row once.")
    output: Output = Field(default_factory=Output, description="How the result is written.")
    execution: Execution = Field(default_factory=LocalExecution, description="Where the work is done.")

    @model_validator(mode="after")
    def _sources_exist(self) -> DataRecipe:
        named = [source.name for source in self.sources]
        if self.mix is not None and None not in named:
            for name in self.mix.weights:
                if name not in named:
                    raise ValueError(f"mix.weights names {name!r}, which is no source ({', '.join(map(str, named))})")
        return self


def resolved_steps(recipe: DataRecipe, folder: Path) -> tuple[StepConfig, ...]:
    """The steps, with relative paths of files that they compare with resolved against the recipe's folder."""
    return tuple(_resolved(step, folder) for step in recipe.steps)


def _resolved(step: StepConfig, folder: Path) -> StepConfig:
    resolve = getattr(step, "resolve_paths", None)
    resolved: StepConfig = resolve(folder) if resolve is not None else step
    return resolved
