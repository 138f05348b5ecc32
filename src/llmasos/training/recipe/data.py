"""The data of a training recipe: what is read, what is kept for validation, how it becomes batches."""

from __future__ import annotations

from pydantic import Field, model_validator

from llmasos.data.packing import BestFit, Packing
from llmasos.data.rendering.options import RenderingOptions
from llmasos.data.sources.config import Source
from llmasos.training.recipe.options import Options


class TrainingData(Options):
    """What a model learns from and is measured on."""

    train: tuple[Source, ...] = Field(min_length=1, description="What is learned, in this order before mixing.")
    validation: tuple[Source, ...] = Field(
        (), description="What the loss is measured on; default: validation_share of the training rows."
    )
    validation_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the training rows kept for validation, chosen by their content: the same in every run.",
    )
    train_limit: int | None = Field(None, ge=1, description="Most training rows, chosen by chance.")
    validation_limit: int | None = Field(None, ge=1, description="Most validation rows, chosen by chance.")
    rendering: RenderingOptions = Field(
        default_factory=RenderingOptions, description="How rows become tokens: length, what is learned and dropped."
    )
    packing: Packing = Field(
        default_factory=BestFit,
        description="How sequences are filled. Documents in one sequence do not see each other.",
    )
    sequence_length: int | None = Field(
        None, ge=8, description="Tokens of a packed sequence; default: max_length of rendering, else what the model "
        "can read, at most 1024."
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_validation(self) -> TrainingData:
        if self.validation and self.validation_share:
            raise ValueError("validation and validation_share exclude each other")
        return self
