"""Relative paths of a training recipe, made absolute; they are relative to the folder of the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from llmasos.data.sources.config import AlignedSource, FileSource, HubSource, Source
from llmasos.training.recipe.data import TrainingData
from llmasos.training.recipe.kinds import Training
from llmasos.training.recipe.models import (
    BaseModelSource,
    ExistingTokenizer,
    ModelSource,
    PresetModel,
    TokenizerSource,
    TrainTokenizer,
)
from llmasos.training.recipe.trainer import Evaluation

_Recipe = TypeVar("_Recipe", bound=Training)


def with_absolute_paths(recipe: _Recipe, folder: Path) -> _Recipe:
    """The recipe with every path in it absolute.

    Args:
        folder: what relative paths are relative to.
    """
    return recipe.model_copy(
        update={
            "model": _model(recipe.model, folder),
            "data": _data(recipe.data, folder),
            "evaluation": _evaluation(recipe.evaluation, folder),
        }
    )


def _absolute(text: str, folder: Path) -> str:
    return str(folder.absolute() / Path(text).expanduser())


def _reference(text: str, folder: Path) -> str:
    """A model: a path if it begins like one (as for every command), else a name."""
    prefix, text = ("file:", text.removeprefix("file:")) if text.startswith("file:") else ("", text)
    return prefix + _absolute(text, folder) if prefix or text.startswith((".", "/", "~")) else text


def _model(model: ModelSource, folder: Path) -> ModelSource:
    if isinstance(model, BaseModelSource):
        return model.model_copy(update={"reference": _reference(model.reference, folder)})
    assert isinstance(model, PresetModel)
    return model.model_copy(update={"tokenizer": _tokenizer(model.tokenizer, folder)})


def _tokenizer(tokenizer: TokenizerSource, folder: Path) -> TokenizerSource:
    if isinstance(tokenizer, ExistingTokenizer):
        return tokenizer.model_copy(update={"model": _reference(tokenizer.model, folder)})
    if isinstance(tokenizer, TrainTokenizer):
        return tokenizer.model_copy(update={"sources": _sources(tokenizer.sources, folder)})
    return tokenizer


def _data(data: TrainingData, folder: Path) -> TrainingData:
    return data.model_copy(
        update={"train": _sources(data.train, folder), "validation": _sources(data.validation, folder)}
    )


def _sources(sources: tuple[Source, ...], folder: Path) -> tuple[Source, ...]:
    return tuple(_source(source, folder) for source in sources)


def _source(source: Source, folder: Path) -> Source:
    if isinstance(source, FileSource):
        paths = (
            _absolute(source.path, folder)
            if isinstance(source.path, str)
            else tuple(_absolute(path, folder) for path in source.path)
        )
        return source.model_copy(update={"path": paths})
    if isinstance(source, AlignedSource):
        both = {"first": _absolute(source.first, folder), "second": _absolute(source.second, folder)}
        return source.model_copy(update=both)
    if isinstance(source, HubSource) and (folder / Path(source.dataset).expanduser()).is_dir():
        return source.model_copy(update={"dataset": _absolute(source.dataset, folder)})
    return source


def _evaluation(evaluation: Evaluation, folder: Path) -> Evaluation:
    tasks = tuple(
        task.model_copy(update={"task": _absolute(task.task, folder)})
        if task.task.endswith((".yaml", ".yml"))
        else task
        for task in evaluation.tasks
    )
    return evaluation.model_copy(update={"tasks": tasks})
