"""The check of memory just before a run starts: quick where there is plenty, exact where it might be too little."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from llmasos.training.batches import tokens_of
from llmasos.training.feeding import Feeds
from llmasos.training.methods.applied import Applied
from llmasos.training.methods.apply import apply_method
from llmasos.training.methods.layers import count_layers
from llmasos.training.opening import OpenedModel
from llmasos.training.preflight.memory import estimate_memory, require_fit
from llmasos.training.preflight.probe import Probe, longest_micro_batch, probe
from llmasos.training.recipe.kinds import TrainingRecipe
from llmasos.training.trainer.precision import Precision

_KEPT = 60
"""More numbers, in widths of the model, than any layer keeps for a token until the backward pass."""


def require_memory(
    recipe: TrainingRecipe, opened: OpenedModel, feeds: Feeds, precision: Precision, *, device: str, world: int = 1
) -> None:
    """Refuse a run that will not fit; its model is there already, and the method is not applied yet.

    Raises:
        OutOfMemory: the estimate exceeds what is there.
        InvalidRecipe: the method cannot be used with this model.
    """
    shapes = shapes_of(opened)
    applied = applied_shapes(recipe, shapes, precision)
    micro_batches = max(recipe.trainer.batch_size // (feeds.micro_batch_size * world), 1)

    def fits(probed: Probe, share: float) -> bool:
        memory = estimate_memory(
            recipe, applied, precision, probed, device=device, micro_batches=micro_batches, data=0,
        )  # fmt: skip
        taken = sum(memory.parts.get(name, 0) for name in ("program", "weights"))  # is there already
        needed = replace(memory, available=memory.available + taken)
        if share == 1.0:
            require_fit(recipe, needed, micro_batch_size=feeds.micro_batch_size)
        return needed.total <= share * needed.available

    if not fits(_rough(recipe, opened, feeds), 0.5):
        fits(probe(recipe, shapes, feeds, precision, device), 1.0)


def _rough(recipe: TrainingRecipe, opened: OpenedModel, feeds: Feeds) -> Probe:
    """More than a step takes, without computing anything."""
    batch = longest_micro_batch(feeds)
    module: Any = opened.module
    text = module.config.get_text_config()
    places = tokens_of(batch)[1]
    layers = count_layers(module) * (2 if module.config.is_encoder_decoder else 1)
    entries = int(module.get_input_embeddings().weight.shape[0])
    logits = min(recipe.trainer.loss_chunk, places) * entries * 16
    return Probe(places * layers * _KEPT * int(text.hidden_size) * 4 + logits, places, 1.0, places)


def shapes_of(opened: OpenedModel) -> OpenedModel:
    """The same model on torch's meta device."""
    memo: dict[int, Any] = {}
    for tensor in (*opened.module.parameters(), *opened.module.buffers()):
        empty = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    return replace(opened, module=copy.deepcopy(opened.module, memo))


def applied_shapes(recipe: TrainingRecipe, shapes: OpenedModel, precision: Precision) -> Applied:
    """A method applied to shapes, with weights in the formats of the run; the shapes stay as they are.

    Raises:
        InvalidRecipe: the method cannot be used with this model.
    """
    applied = apply_method(
        copy.deepcopy(shapes.module),
        recipe.method,
        family=shapes.family,
        kind=recipe.kind,
        seed=recipe.seed,
        new_head=shapes.new_head,
        scratch=recipe.model.start == "preset",
        tokenizer=shapes.renderer.tokenizer,
    )
    trained = dict(applied.parameters())
    if precision.copies is not None:
        for weight in trained.values():
            weight.data = weight.data.to(precision.copies)
    precision.convert_frozen(applied.module, {id(weight) for weight in trained.values()})
    return applied
