"""The objective of a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from llmasos.errors import InvalidRecipe, did_you_mean
from llmasos.i18n import t
from llmasos.training.objectives.causal import CausalObjective
from llmasos.training.objectives.classification import ClassificationObjective, class_weights
from llmasos.training.objectives.objective import Objective
from llmasos.training.objectives.reward import RewardObjective
from llmasos.training.objectives.seq2seq import Seq2SeqObjective
from llmasos.training.recipe.kinds import (
    ClassifyRecipe,
    PretrainRecipe,
    RewardRecipe,
    Seq2SeqRecipe,
    SftRecipe,
    TrainingRecipe,
)

if TYPE_CHECKING:
    from llmasos.training.feeding import Feeds
    from llmasos.training.opening import OpenedModel


def choose_objective(recipe: TrainingRecipe, opened: OpenedModel, feeds: Feeds) -> Objective:
    """What the model of a recipe is trained to do.

    Raises:
        InvalidRecipe: a key does not fit the kind; class weights name a class that is not there.
    """
    trainer = recipe.trainer
    match recipe:
        case PretrainRecipe() | SftRecipe():
            return CausalObjective(opened.traits, chunk=trainer.loss_chunk, label_smoothing=trainer.label_smoothing)
        case Seq2SeqRecipe():
            return Seq2SeqObjective(opened.traits, chunk=trainer.loss_chunk, label_smoothing=trainer.label_smoothing)
        case ClassifyRecipe():
            return ClassificationObjective(
                opened.traits,
                opened.way,
                classes=len(opened.labels),
                weights=_weights(recipe, opened, feeds),
                label_smoothing=trainer.label_smoothing,
            )
        case RewardRecipe():
            if trainer.label_smoothing:
                raise InvalidRecipe(
                    t("trainer.label_smoothing = {value}: a reward model has no classes to smooth",
                      value=trainer.label_smoothing),
                    hint=t("Leave it out."),
                )  # fmt: skip
            return RewardObjective(opened.traits, opened.way, margin=recipe.margin, center=recipe.center)
        case _:
            assert_never(recipe)


def _weights(recipe: ClassifyRecipe, opened: OpenedModel, feeds: Feeds) -> list[float] | None:
    given = recipe.class_weights
    if not isinstance(given, str):
        for name, value in given.items():
            if name not in opened.labels:
                raise InvalidRecipe(
                    t("class_weights names {name!r}, which is no class", name=name),
                    hint=did_you_mean(name, opened.labels)
                    or t("The classes are {labels}.", labels=", ".join(opened.labels)),
                )
            if value < 0:
                raise InvalidRecipe(
                    t("class_weights.{name} = {value}: a weight is 0 or more", name=name, value=value),
                    hint=t("Give a class that should count less a weight below 1."),
                )
    return class_weights(given, opened.labels, feeds.class_counts)
