"""The kinds of training recipes, one strict model each."""

from __future__ import annotations

from typing import Literal, Self, TypeAlias

from pydantic import Field, model_validator

from llmasos.recipe.loading import Recipe
from llmasos.training.recipe.data import TrainingData
from llmasos.training.recipe.methods import Full, Lora, Method
from llmasos.training.recipe.models import ModelSource, PresetModel
from llmasos.training.recipe.optimizers import AdamW, Cosine, Optimizer, Schedule
from llmasos.training.recipe.options import Options
from llmasos.training.recipe.trainer import Checkpoints, Evaluation, Tracker, Trainer


class Output(Options):
    """What becomes of the result."""

    name: str | None = Field(
        None, description="Name in the library, such as my/model; default: it gets no name but stays in the run."
    )
    merge: bool = Field(
        False, description="Merge an adapter into its base, verify that logits agree, and publish the whole model."
    )
    description: str | None = Field(None, description="One or two sentences for the card.")
    license: str | None = Field(None, description="Licence of the result; default: that of the model it is made from.")
    languages: tuple[str, ...] = Field((), description="Languages as ISO 639 codes; default: those of the base.")


class Training(Recipe):
    """What the recipes of all kinds say."""

    name: str | None = Field(None, description="Name of the run; default: made from kind and time.")
    seed: int = Field(42, ge=0, description="Seed of everything that is chosen by chance.")
    method: Method = Field(default_factory=Full, description="Which weights are trained.")
    model: ModelSource = Field(description="The model that is trained: a name, or a preset with random weights.")
    data: TrainingData = Field(description="What it learns from.")
    optimizer: Optimizer = Field(default_factory=AdamW, description="How weights are changed.")
    schedule: Schedule = Field(default_factory=Cosine, description="How the learning rate goes up and down.")
    trainer: Trainer = Field(default_factory=Trainer, description="The training loop.")
    evaluation: Evaluation = Field(default_factory=Evaluation, description="What is measured during training.")
    checkpoints: Checkpoints = Field(default_factory=Checkpoints, description="Which states are kept.")
    trackers: tuple[Tracker, ...] = Field((), description="Experiment trackers that get the metrics too.")
    output: Output = Field(default_factory=Output, description="What becomes of the result.")

    @model_validator(mode="after")
    def _random_weights_are_trained(self) -> Self:
        method: Method = self.method
        if isinstance(self.model, PresetModel) and not isinstance(method, Full):
            raise ValueError(f"method {method.kind} trains few weights; a preset with random weights needs full")
        return self


class PretrainRecipe(Training):
    """Next-token prediction on plain text: from scratch, or going on with a model."""

    kind: Literal["pretrain"] = Field(description="The task: pretrain.")


class SftRecipe(Training):
    """Supervised fine-tuning of a decoder-only model on prompts and answers or conversations."""

    kind: Literal["sft"] = Field(description="The task: sft.")
    method: Method = Field(default_factory=Lora, description="Which weights are trained.")


class ClassifyRecipe(Training):
    """A classifier on an encoder or a decoder-only model."""

    kind: Literal["classify"] = Field(description="The task: classify.")
    labels: tuple[str, ...] = Field((), description="The classes in order; default: those of the training rows.")
    class_weights: Literal["none", "balanced"] | dict[str, float] = Field(
        "none", description="Weight of each class in the loss; balanced: the inverse of its frequency."
    )
    head_dropout: float | None = Field(None, ge=0, lt=1, description="Dropout before the head; default: the model's.")


class Seq2SeqRecipe(Training):
    """An encoder-decoder model on pairs of source and target, such as translation and summarisation."""

    kind: Literal["seq2seq"] = Field(description="The task: seq2seq.")


class RewardRecipe(Training):
    """A reward model on pairs of a chosen and a rejected answer (Bradley and Terry 1952, Ouyang et al. 2022)."""

    kind: Literal["reward"] = Field(description="The task: reward.")
    method: Method = Field(default_factory=Lora, description="Which weights are trained.")
    margin: float = Field(0.0, ge=0, description="By how much the chosen answer must win.")
    center: float = Field(
        0.0, ge=0, description="Weight of the penalty for rewards away from zero (Eisenstein et al. 2023; 0.01)."
    )


TrainingRecipe: TypeAlias = PretrainRecipe | SftRecipe | ClassifyRecipe | Seq2SeqRecipe | RewardRecipe

KINDS: dict[str, type[Training]] = {
    "pretrain": PretrainRecipe,
    "sft": SftRecipe,
    "classify": ClassifyRecipe,
    "seq2seq": Seq2SeqRecipe,
    "reward": RewardRecipe,
}
"""The model of each kind of training recipe."""
