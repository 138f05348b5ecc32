"""What a step takes, measured on a few layers of the model with random weights and carried over to all of them.

Layers are alike, so memory and time grow with their number: two small models, of one layer and of three, tell what a
layer adds. They are computed by the same code as in training. Estimates from shapes would have to know what every
kernel keeps for its backward pass.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from llmasos.training.batches import AnyBatch, tokens_of
from llmasos.training.feeding import Feeds
from llmasos.training.methods.apply import apply_method
from llmasos.training.methods.layers import count_layers, stacks
from llmasos.training.objectives.choose import choose_objective
from llmasos.training.objectives.network import find_traits
from llmasos.training.objectives.scores import find_way
from llmasos.training.opening import OpenedModel
from llmasos.training.preflight.allocations import Allocations
from llmasos.training.recipe.kinds import ClassifyRecipe, RewardRecipe, TrainingRecipe
from llmasos.training.recipe.methods import PrefixTuning, PromptTuning, PTuning
from llmasos.training.trainer.precision import Precision
from llmasos.training.trainer.weights import Weights

_DEEP = 3
"""Layers of the deeper of the two."""


@dataclass(frozen=True)
class Probe:
    """What the largest micro-batch takes.

    Attributes:
        working: bytes beside weights, gradients and states at the highest point.
        supervised: units of the loss in it.
        seconds: of forward and backward pass.
        tokens: real tokens in it.
    """

    working: int
    supervised: int
    seconds: float
    tokens: int


class _WithLengths(Protocol):
    lengths: NDArray[np.int64]

    def make(self, sequences: NDArray[np.int64], *, counts: bool) -> AnyBatch: ...


def longest_micro_batch(feeds: Feeds) -> AnyBatch:
    """The micro-batch of the longest sequences: the one that needs most memory."""
    known = cast(_WithLengths, feeds.train)
    order = np.argsort(-known.lengths, kind="stable")[: feeds.micro_batch_size]
    return known.make(order, counts=True)


def probe(recipe: TrainingRecipe, opened: OpenedModel, feeds: Feeds, precision: Precision, device: str) -> Probe:
    """Compute the largest micro-batch with few layers.

    Args:
        opened: the model on torch's meta device, without a method.

    Raises:
        InvalidRecipe: the method cannot be used with this model.
    """
    depth = count_layers(opened.module)
    batch = longest_micro_batch(feeds)
    deep = min(depth, _DEEP)
    working, seconds, supervised = _measure(recipe, opened, feeds, precision, device, batch, deep)
    if depth > deep:
        least, quickest, _ = _measure(recipe, opened, feeds, precision, device, batch, 1)
        working += (depth - deep) * max(working - least, 0) // (deep - 1)
        seconds += (depth - deep) * max(seconds - quickest, 0.0) / (deep - 1)
    return Probe(working, supervised, seconds, tokens_of(batch)[0])


def _measure(
    recipe: TrainingRecipe,
    opened: OpenedModel,
    feeds: Feeds,
    precision: Precision,
    device: str,
    batch: AnyBatch,
    layers: int,
) -> tuple[int, float, int]:
    """(bytes beside weights and gradients, seconds, units of the loss) with so many layers."""
    with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):
        torch.manual_seed(recipe.seed)
        shallow = _shallow(recipe, opened, layers, device)
        applied = apply_method(
            shallow.module,
            _without_layer_numbers(recipe),
            family=shallow.family,
            kind=recipe.kind,
            seed=recipe.seed,
            new_head=shallow.new_head,
            tokenizer=shallow.renderer.tokenizer,
        )
        module: Any = applied.module
        if recipe.trainer.activation_checkpointing and not applied.forbids_checkpointing:
            module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        objective = choose_objective(recipe, shallow, feeds)
        trained = dict(applied.parameters())
        weights = Weights(trained, compute_dtype=precision.copies)
        precision.convert_frozen(module, {id(weight) for weight in trained.values()})

        def step() -> None:
            with precision.computing(device):
                loss = objective.loss(module, batch)
            loss.total.backward()  # type: ignore[no-untyped-call]  # torch gives it no types

        step()  # allocates gradients, and warms up
        seconds = min(_timed(step, device) for _ in range(2))
        peak = _highest(step, device)
        weights.zero_gradients()
        return peak, seconds, objective.count(batch)


def _without_layer_numbers(recipe: TrainingRecipe) -> Any:
    """The method, training no more layers than a shallow model has."""
    method = recipe.method
    if method.kind == "freeze" and method.last_layers:
        return method.model_copy(update={"last_layers": 1})
    return method


def _shallow(recipe: TrainingRecipe, opened: OpenedModel, layers: int, device: str) -> OpenedModel:
    """The model with its first layers alone and random weights, on a device."""
    module: Any = copy.deepcopy(opened.module)
    for stack in stacks(module).values():
        del stack[layers:]
    module.to_empty(device=device)
    for part in module.modules():
        part._is_hf_initialized = False
    module.initialize_weights()
    module.tie_weights()
    module.train()
    headed = isinstance(recipe, ClassifyRecipe | RewardRecipe)
    single = isinstance(recipe.method, PromptTuning | PrefixTuning | PTuning)
    traits = find_traits(module, causal_head=not headed, try_packing=not single)
    return replace(opened, module=module, traits=traits, way=find_way(module, traits) if headed else None)


# --- measuring -------------------------------------------------------------------------------------------------------


def _timed(step: Callable[[], None], device: str) -> float:
    start = time.perf_counter()
    step()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _highest(step: Callable[[], None], device: str) -> int:
    """Bytes of tensors that a step takes at its highest point, beside those that are there before it."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return int(torch.cuda.max_memory_allocated(device)) - before
    allocations = Allocations()
    with allocations:
        step()
    return allocations.highest
