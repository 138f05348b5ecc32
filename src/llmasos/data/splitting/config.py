"""The configuration of splits and mixtures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from llmasos.recipe.unions import default_tag

Share = Annotated[float, Field(gt=0, lt=1)]
_KEY = "label, source_name, file, a place such as prompt, or a column of metadata"


class _Split(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    parts: dict[str, Share] = Field(
        description="Share of the rows for each split beside train, such as {validation: 0.05, test: 0.05}."
    )

    @field_validator("parts")
    @classmethod
    def _sensible(cls, parts: dict[str, float]) -> dict[str, float]:
        for name in parts:
            if not name.replace("_", "").isalnum() or not name.isascii() or name == "train":
                raise ValueError(
                    f"{name!r} cannot be the name of a split (letters, digits and _; train is what remains)"
                )
        if sum(parts.values()) >= 1:
            raise ValueError("the shares leave nothing for train")
        return parts


class RandomSplit(_Split):
    """By chance, the same with every seed; in each stratum alike, or keeping groups together."""

    method: Literal["random"] = "random"
    stratify_by: str | None = Field(None, description=f"What every split has in the same proportions: {_KEY}.")
    group_by: str | None = Field(None, description=f"Rows that share this stay in one split: {_KEY}.")

    @model_validator(mode="after")
    def _one_of(self) -> RandomSplit:
        if self.stratify_by is not None and self.group_by is not None:
            raise ValueError("stratify_by and group_by exclude each other")
        return self


class TimeSplit(_Split):
    """By time: train is the oldest, the splits follow in the order in which they are written."""

    method: Literal["time"] = "time"
    column: str = Field(description="Column of metadata with a date or time in ISO 8601, or a number.")


Split = Annotated[Annotated[RandomSplit | TimeSplit, Field(discriminator="method")], default_tag("method", "random")]


class RepeatMixture(BaseModel):
    """Passes over each source: 2 takes every row of its train split twice, 0.5 half of them, 0 none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["repeat"] = "repeat"
    weights: dict[str, Annotated[float, Field(ge=0, le=1000)]] = Field(
        description="Passes by name of source; sources that are not named are taken once."
    )


class ShareMixture(BaseModel):
    """Shares of each source in the train split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["share"] = "share"
    weights: dict[str, Annotated[float, Field(gt=0)]] = Field(
        description="Relative share by name of source; all sources are named."
    )
    rows: int | None = Field(
        None, ge=1, description="Rows of the train split; default: as many as there are without repeating any."
    )


Mixture = Annotated[
    Annotated[RepeatMixture | ShareMixture, Field(discriminator="method")], default_tag("method", "repeat")
]
"""How much of each source goes into the train split."""
