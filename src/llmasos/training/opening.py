"""From what a recipe calls its model to a module that can be trained, and the renderer that feeds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from llmasos.data.rendering import Renderer
from llmasos.data.rendering.renderer import label_names
from llmasos.data.row import Row
from llmasos.data.sources.planning import make_plan
from llmasos.data.sources.rows import planned_rows
from llmasos.errors import InvalidRecipe, InvalidRequest
from llmasos.i18n import t
from llmasos.modeling.finding import as_folder, find_version, verified_folder
from llmasos.modeling.folder import Family, ModelFolder
from llmasos.modeling.weights import model_class, prepare_transformers, require_memory
from llmasos.training import limits
from llmasos.training.loading import classifier_class, empty_model, head_arguments, read_weights
from llmasos.training.objectives.network import Traits, find_traits
from llmasos.training.objectives.scores import Way, find_way
from llmasos.training.recipe.kinds import ClassifyRecipe, RewardRecipe, TrainingRecipe
from llmasos.training.recipe.methods import PrefixTuning, PromptTuning, PTuning
from llmasos.training.recipe.models import (
    BaseModelSource,
    ExistingTokenizer,
    PresetModel,
    TokenizerSource,
    TrainTokenizer,
)

if TYPE_CHECKING:
    from llmasos.library.store import Library, Version

_FAMILIES: dict[str, tuple[Family, ...]] = {
    "pretrain": (Family.CAUSAL,),
    "sft": (Family.CAUSAL,),
    "classify": (Family.CAUSAL, Family.ENCODER, Family.CLASSIFIER),
    "seq2seq": (Family.SEQ2SEQ,),
    "reward": (Family.CAUSAL, Family.CLASSIFIER),
}


@dataclass
class OpenedModel:
    """A model ready for a method to choose what of it is trained.

    Attributes:
        module: a module of transformers with the head that the objective needs, on its device, in train mode.
        renderer: tokenizer, chat template, labels and limits, with the options of the recipe.
        family: CAUSAL, SEQ2SEQ or ENCODER; a classifier counts as what it is built on.
        folder: the files of the model, or of the tokenizer and configuration of a preset.
        version: the library's version that it comes from, for lineage and licence; ``None`` for folders and presets.
        context_length: most tokens of a sequence that it can read; where the model has no limit, a default.
        labels: names of the classes in the order of their numbers; empty unless the recipe is of kind classify.
        new_head: names of weights that were not in the files, because the objective needs a new head.
        traits, way: how the module is best computed; see :mod:`llmasos.training.objectives.network` and ``scores``.
        warnings: what the user should know, in sentences.
    """

    module: nn.Module
    renderer: Renderer
    family: Family
    folder: ModelFolder
    version: Version | None
    context_length: int
    traits: Traits
    way: Way | None = None
    labels: tuple[str, ...] = ()
    new_head: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    @property
    def packable(self) -> bool:
        """Whether documents can stand in one row without seeing each other."""
        return self.traits.packable


@dataclass(frozen=True)
class FoundModel:
    """The files of a recipe's model, before weights are read.

    Attributes:
        folder, version: as in :class:`OpenedModel`.
        renderer: as there.
        labels: as there.
        context_length: as there.
        notes: what the user should know, in sentences.
    """

    folder: ModelFolder
    version: Version | None
    renderer: Renderer
    labels: tuple[str, ...]
    context_length: int
    notes: tuple[str, ...] = ()


def open_model(
    recipe: TrainingRecipe,
    *,
    rows: Callable[[], Iterator[Row]],
    device: str,
    dtype: str = "float32",
    library: Library,
    meta: bool = False,
) -> OpenedModel:
    """Load the model of a recipe, or make it with random weights.

    Args:
        rows: the training rows from the start, each time it is called: for the labels and for training tokenizers.
        device: torch device.
        dtype: number format of the weights: ``float32`` or ``bfloat16``.
        meta: weights on torch's meta device: shapes without memory.

    Raises:
        InvalidRecipe: the model is not for this kind of recipe; labels are missing or not known.
        NotFound, LicenseNotAccepted, Unavailable, IntegrityError, UnsafeContent, Unsupported, OutOfMemory: as
            :func:`llmasos.sdk.load`.
    """
    prepare_transformers()
    found = find_model(recipe, rows=rows, library=library)
    new_head: tuple[str, ...] = ()
    warnings = list(found.notes)
    preset = recipe.model if isinstance(recipe.model, PresetModel) else None
    if preset is not None:
        module = _preset_module(recipe, preset, found, dtype, meta=meta)
    else:
        module, new_head = _pretrained_module(recipe, found, dtype, meta=meta)
        if new_head and found.folder.family is Family.CLASSIFIER:
            warnings.append(t("the model's own classes are others than the recipe's: it gets a new head"))
    if not meta:
        module = module.to(device)
    causal_head = not isinstance(recipe, ClassifyRecipe | RewardRecipe)
    # Prompt vectors stand before every row, so that a row cannot hold several documents.
    single = isinstance(recipe.method, PromptTuning | PrefixTuning | PTuning)
    traits = find_traits(module, causal_head=causal_head, try_packing=not single)
    return OpenedModel(
        module=module.train(),
        renderer=found.renderer,
        family=_family(module, found.folder),
        folder=found.folder,
        version=found.version,
        context_length=found.context_length,
        traits=traits,
        way=None if causal_head else find_way(module, traits),
        labels=found.labels,
        new_head=new_head,
        warnings=tuple(warnings),
    )


def find_model(recipe: TrainingRecipe, *, rows: Callable[[], Iterator[Row]], library: Library) -> FoundModel:
    """The files and the renderer of a recipe's model, without its weights; a preset's tokenizer is trained if need be.

    Raises: as :func:`open_model`.
    """
    labels = _labels(recipe, rows)
    notes: tuple[str, ...] = ()
    version = None
    if isinstance(recipe.model, BaseModelSource):
        folder, version = _files(recipe.model.reference, library)
        labels = _in_the_models_order(labels, folder)
        _check_family(recipe, folder)
    else:
        from llmasos.training.presets.folder import prepare_preset

        tokenizer = recipe.model.tokenizer
        existing = _files(tokenizer.model, library)[0] if isinstance(tokenizer, ExistingTokenizer) else None
        prepared = prepare_preset(
            recipe.model,
            kind=recipe.kind,
            texts=_texts(tokenizer, rows),
            root=library.home / "cache" / "presets",
            existing=existing,
            labels=labels,
        )
        folder = prepared.folder
        notes = tuple(prepared.report.notes()) if prepared.report is not None else ()
    unlimited = recipe.data.rendering.model_copy(update={"max_length": None})
    plain = Renderer.of_model(folder, unlimited, labels=labels)
    context_length = plain.max_length or limits.DEFAULT_LENGTH
    renderer = plain.with_options(limits.rendering_options(recipe, context_length))
    return FoundModel(folder, version, renderer, labels, context_length, notes)


def _texts(tokenizer: TokenizerSource, rows: Callable[[], Iterator[Row]]) -> Callable[[], Iterator[str]]:
    """What a new tokenizer is trained on: the sources that the recipe names for it, else the training rows."""
    own = tokenizer.sources if isinstance(tokenizer, TrainTokenizer) else ()
    if not own:
        return lambda: (text for row in rows() for _, text in row.texts())
    plan = make_plan(own, Path(), shard_bytes=1 << 40)
    return lambda: (text for row in planned_rows(plan) if isinstance(row, Row) for _, text in row.texts())


def _files(reference: str, library: Library) -> tuple[ModelFolder, Version | None]:
    path = as_folder(reference)
    if path is not None:
        return ModelFolder.open(path, reference=reference), None
    version = find_version(reference, library, accept_license=False)
    return verified_folder(reference, version, library), version


# --- classes ---------------------------------------------------------------------------------------------------------


def _labels(recipe: TrainingRecipe, rows: Callable[[], Iterator[Row]]) -> tuple[str, ...]:
    if not isinstance(recipe, ClassifyRecipe):
        return ()
    labels = recipe.labels or label_names(rows())
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated:
        raise InvalidRecipe(
            t("labels names {label!r} twice", label=repeated[0]), hint=t("Name every class once, in order.")
        )
    if len(labels) < 2:
        raise InvalidRequest(
            t("classification needs at least 2 classes; found: {labels}", labels=", ".join(labels) or "-"),
            hint=t("Check which column the layout of the source takes as label."),
        )
    return labels


def _in_the_models_order(labels: tuple[str, ...], folder: ModelFolder) -> tuple[str, ...]:
    """A classifier that has these classes already keeps their order, and so its head."""
    own = _own_labels(folder)
    return own if labels and set(own) == set(labels) else labels


def _own_labels(folder: ModelFolder) -> tuple[str, ...]:
    if folder.labels:
        return folder.labels
    named = folder.config.get("id2label")
    if not isinstance(named, dict):
        return ()
    return tuple(str(named[key]) for key in sorted(named, key=int))


# --- modules ---------------------------------------------------------------------------------------------------------


def _check_family(recipe: TrainingRecipe, folder: ModelFolder) -> None:
    allowed = _FAMILIES[recipe.kind]
    if folder.family not in allowed:
        raise InvalidRecipe(
            t("a recipe of kind {kind} cannot train {model}, which is a model of kind {family}",
              kind=recipe.kind, model=folder.reference, family=folder.family.value),
            hint=t("It trains models of kind {families}.", families=", ".join(family.value for family in allowed)),
        )  # fmt: skip


def _pretrained_module(
    recipe: TrainingRecipe, found: FoundModel, dtype: str, *, meta: bool
) -> tuple[nn.Module, tuple[str, ...]]:
    folder = found.folder
    headed = isinstance(recipe, ClassifyRecipe | RewardRecipe)
    kind = classifier_class(folder) if headed else model_class(folder)
    changes: dict[str, Any] = {}
    if headed:
        names = found.labels if isinstance(recipe, ClassifyRecipe) else ("reward",)
        padding = found.renderer.tokenizer.special.id("pad")
        changes = head_arguments(folder, kind, names, padding=padding)
    if isinstance(recipe, ClassifyRecipe) and recipe.head_dropout is not None:
        changes |= _head_dropout(folder, kind, recipe.head_dropout)
    if meta:
        return empty_model(folder, kind, dtype, changes), ()
    require_memory(folder, dtype)
    keeps_head = headed and folder.family is Family.CLASSIFIER and _own_labels(folder) == tuple(found.labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return read_weights(folder, kind, dtype, changes, new_head=headed, replace_head=headed and not keeps_head)


_DROPOUTS = ("classifier_dropout", "seq_classif_dropout", "cls_dropout")


def _head_dropout(folder: ModelFolder, kind: Any, value: float) -> dict[str, Any]:
    config = kind.config_class()
    for name in _DROPOUTS:
        if hasattr(config, name):
            return {name: value}
    raise InvalidRecipe(
        t("head_dropout = {value}: {model} has no dropout before its head", value=value, model=folder.reference),
        hint=t("Leave head_dropout out."),
    )


def _preset_module(
    recipe: TrainingRecipe, preset: PresetModel, found: FoundModel, dtype: str, *, meta: bool
) -> nn.Module:
    from llmasos.training.presets.build import build

    tokenizer = found.renderer.tokenizer
    module: Any = build(preset, tokenizer, kind=recipe.kind, labels=found.labels, seed=recipe.seed, meta=meta)
    made: nn.Module = module.to(getattr(torch, dtype))
    return made


def _family(module: nn.Module, folder: ModelFolder) -> Family:
    if folder.family is not Family.CLASSIFIER:
        return folder.family
    return Family.CAUSAL if hasattr(module, "score") else Family.ENCODER
