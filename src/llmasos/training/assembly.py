"""Puts the parts of a run together: model, method, data, objective, optimiser, loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from llmasos import progress
from llmasos.data.token_cache import TokenCache
from llmasos.errors import InvalidRecipe, Unsupported
from llmasos.i18n import t
from llmasos.library.store import Library
from llmasos.modeling.folder import Family
from llmasos.runs.context import RunContext
from llmasos.training.batches import AnyBatch
from llmasos.training.checkpoint.store import CheckpointStore
from llmasos.training.distributed.processes import Processes, threads_for
from llmasos.training.distributed.sharding import check_sharding, shard
from llmasos.training.feeding import Feeds, feed
from llmasos.training.methods.applied import Applied
from llmasos.training.methods.apply import apply_method
from llmasos.training.methods.layers import stacks
from llmasos.training.objectives.choose import choose_objective
from llmasos.training.objectives.objective import LossSum, Objective
from llmasos.training.opening import OpenedModel, open_model
from llmasos.training.optimizers.build import Group, build_optimizer
from llmasos.training.preflight.start import require_memory
from llmasos.training.recipe.kinds import TrainingRecipe
from llmasos.training.recipe.models import PresetModel
from llmasos.training.recipe.trainer import FullySharded
from llmasos.training.rows import read_rows
from llmasos.training.trainer.evaluation import Evaluator, Gathering
from llmasos.training.trainer.gate import Gate
from llmasos.training.trainer.loop import Loop
from llmasos.training.trainer.meter import Arithmetic, Meter, measured_peak
from llmasos.training.trainer.precision import Precision, choose_precision
from llmasos.training.trainer.samples import Sampler
from llmasos.training.trainer.step import Stepper
from llmasos.training.trainer.tasks import TaskMeasures
from llmasos.training.trainer.weights import Weights

CHECKPOINTS = "checkpoints"
"""Folder in that of the run."""


@dataclass(frozen=True)
class Parts:
    """What a run is made of, before its first step."""

    opened: OpenedModel
    applied: Applied
    feeds: Feeds
    objective: Objective
    precision: Precision
    warnings: tuple[str, ...]


def open_parts(recipe: TrainingRecipe, context: RunContext, processes: Processes, library: Library) -> Parts:
    """Open the model, apply the method, render the data.

    The first process goes first: what it fetches and renders, the others find.

    Raises:
        OutOfMemory: training will not fit, by an estimate.
        LLMasOSError: whatever is wrong with the recipe, the model or the data.
    """
    precision = choose_precision(recipe.trainer, recipe.method, processes.device)
    with processes.first_goes_first():
        rows = read_rows(recipe.data, seed=recipe.seed)
        opened = open_model(
            recipe,
            rows=rows.train.rows,
            device=processes.device,
            dtype=str(precision.opened).removeprefix("torch."),
            library=library,
        )
        feeds = feed(
            recipe,
            opened,
            rows,
            cache=TokenCache(library.home / "cache" / "tokens"),
            rank=processes.rank,
            world=processes.world,
            device=processes.device,
        )
    require_memory(recipe, opened, feeds, precision, device=processes.device, world=processes.world)
    applied = _apply(recipe, opened)
    objective = choose_objective(recipe, opened, feeds)
    warnings = (*opened.warnings, *applied.warnings)
    if context.main:
        for note in feeds.notes:
            progress.current().log(note)
    for warning in warnings:
        context.warn(warning)
    return Parts(opened, applied, feeds, objective, precision, warnings)


def reopened(
    recipe: TrainingRecipe, parts: Parts, trained: Mapping[str, Tensor], device: str, library: Library
) -> tuple[OpenedModel, Applied]:
    """The model read again as it is in its files, with the method and the weights of a run.

    Args:
        trained: the trained weights by name.
    """
    opened = open_model(recipe, rows=parts.feeds.rows.train.rows, device=device, library=library)
    applied = _apply(recipe, opened)
    weights = dict(applied.parameters())
    with torch.no_grad():
        for name, value in trained.items():
            weights[name].copy_(value)
    return opened, applied


def _apply(recipe: TrainingRecipe, opened: OpenedModel) -> Applied:
    return apply_method(
        opened.module,
        recipe.method,
        family=opened.family,
        kind=recipe.kind,
        seed=recipe.seed,
        new_head=opened.new_head,
        scratch=isinstance(recipe.model, PresetModel),
        tokenizer=opened.renderer.tokenizer,
    )


def make_loop(recipe: TrainingRecipe, context: RunContext, processes: Processes, parts: Parts) -> Loop:
    """The loop over the parts, at its first step.

    Raises:
        InvalidRecipe: keys do not fit each other, the method or the model.
    """
    applied, opened, precision = parts.applied, parts.opened, parts.precision
    module: Any = applied.module
    if recipe.trainer.activation_checkpointing:
        _checkpoint_activations(applied)
    if recipe.trainer.compile:
        _compile(applied)
    objective = parts.objective
    arithmetic = None if opened.family is Family.SEQ2SEQ else Arithmetic.of(module)
    names = [name for name, _ in applied.parameters()]
    gathering: Gathering | None = None
    if isinstance(recipe.trainer.distribution, FullySharded):
        check_sharding(recipe, processes)
        if not precision.trains_rounded:
            for _, parameter in applied.parameters():
                parameter.data = parameter.data.float()  # gathered weights are rounded, and what is kept is not
        gathering = shard(module, recipe.trainer.distribution, processes, precision.compute)
        parameters = dict(module.named_parameters())
        weights = Weights({name: parameters[name] for name in names})
    else:
        trained = dict(applied.parameters())
        weights = Weights(trained, compute_dtype=precision.copies)
        precision.convert_frozen(module, {id(parameter) for parameter in trained.values()})
    optimizer = build_optimizer(
        recipe.optimizer,
        [
            Group({name: weights[name].master for name in group.parameters}, group.factor, group.decay)
            for group in applied.groups
        ],
        rate=applied.learning_rate,
    )
    gate = Gate(recipe.trainer.on_bad_loss)

    def loss(batch: AnyBatch) -> LossSum:
        if gathering is None:
            return objective.loss(module, batch)

        def compute() -> tuple[Tensor, LossSum]:
            found = objective.loss(module, batch)
            return found.total, found

        pair: tuple[Tensor, LossSum] = gathering(compute)
        return replace(pair[1], total=pair[0])

    stepper = Stepper(
        objective,
        loss,
        weights,
        optimizer,
        processes=processes,
        precision=precision,
        gate=gate,
        seed=recipe.seed,
        max_norm=recipe.trainer.max_gradient_norm,
        decode=opened.renderer.tokenizer.decode,
        run_empty=gathering is not None,
    )
    evaluator = Evaluator(
        recipe.evaluation,
        objective,
        parts.feeds.validation,
        TaskMeasures(recipe, opened, context.recipe_folder),
        Sampler(recipe, opened, parts.feeds.samples),
        context,
        processes=processes,
        precision=precision,
        gathering=gathering,
    )
    return Loop(
        recipe=recipe,
        context=context,
        module=module,
        batches=parts.feeds.train,
        weights=weights,
        optimizer=optimizer,
        stepper=stepper,
        evaluator=evaluator,
        store=CheckpointStore(context.folder / CHECKPOINTS, keep_last=recipe.checkpoints.keep_last),
        gate=gate,
        meter=Meter(
            arithmetic, measured_peak(processes.device, precision.compute), processes.device, world=processes.world
        ),
        processes=processes,
        rate=applied.learning_rate,
        on_step=applied.on_step,
        supervised_are_tokens=objective.unit == "tokens",
        data=_data_digests(parts.feeds),
    )


@contextmanager
def computing_threads(requested: int | None, processes: Processes) -> Iterator[None]:
    """Inside the block torch computes with the threads of the recipe, else with this process's share of the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads_for(requested, processes))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _data_digests(feeds: Feeds) -> dict[str, str]:
    rows = feeds.rows
    digests = {"train": rows.train.digest}
    return digests if rows.validation is None else {**digests, "validation": rows.validation.digest}


def _checkpoint_activations(applied: Applied) -> None:
    module: Any = applied.module
    if applied.forbids_checkpointing:
        raise InvalidRecipe(
            t("trainer.activation_checkpointing: not possible with method {method}", method=applied.method.kind),
            hint=t("Leave one of them out."),
        )
    if not getattr(module, "supports_gradient_checkpointing", False):
        raise Unsupported(
            t("trainer.activation_checkpointing: this architecture does not offer it"), hint=t("Leave it out.")
        )
    # The name changes from transformers 5 to 6.
    enable = getattr(module, "activation_checkpointing_enable", None) or module.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def _compile(applied: Applied) -> None:
    """Compile what stands around attention in every layer. Layers are alike, so that one compilation serves all;
    attention takes the lengths of documents, which would have to be compiled again for every batch."""
    for stack in stacks(applied.module).values():
        for layer in stack:
            for part in _without_attention(layer):
                part.compile(dynamic=True)


def _without_attention(module: nn.Module) -> Iterator[nn.Module]:
    """The largest modules within a layer that have no attention in them."""
    for name, part in module.named_children():
        inner = (name, *(inner for inner, _ in part.named_modules()))
        if not any("attn" in item.lower() or "attention" in item.lower() for item in inner):
            yield part
        elif isinstance(part, nn.ModuleList):
            yield from _without_attention(part)
