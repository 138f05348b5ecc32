"""How much memory a run takes at its highest point, by what takes it; and what to change if that is too much."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

import torch
from torch import Tensor, nn

from llmasos.errors import OutOfMemory
from llmasos.hardware import available_memory
from llmasos.i18n import t
from llmasos.training.kernels.native import kernels_for
from llmasos.training.methods.applied import Applied
from llmasos.training.optimizers.adamw_8bit import SMALLEST
from llmasos.training.preflight.probe import Probe
from llmasos.training.preflight.report import MemoryFacts
from llmasos.training.recipe import optimizers as options
from llmasos.training.recipe.kinds import TrainingRecipe
from llmasos.training.recipe.methods import Freeze, Full
from llmasos.training.trainer.precision import Precision
from llmasos.units import format_bytes

PROGRAM = 560 * 2**20
"""Main memory of the process without a model: Python, torch, transformers, tokenizer and data (measured on Linux)."""
PROGRAM_GPU = 500 * 2**20
"""Memory of a GPU that its driver and kernels take."""
_QUANTIZED_STATE = 1 + 4 / 256  # bytes of a number in 8 bits, with its share of the block's scale


@dataclass(frozen=True)
class TrainedNumbers:
    """Numbers in the weights that are trained.

    Attributes:
        all: in all of them; ``matrices`` and ``large``: in matrices, and in tensors large enough to be quantised.
        edges: rows and columns of the matrices.
    """

    matrices: int
    all: int
    edges: int
    large: int

    @classmethod
    def of(cls, tensors: Iterable[Tensor]) -> TrainedNumbers:
        """Those of the trained weights."""
        weights = list(tensors)
        matrices = [weight for weight in weights if weight.dim() >= 2]
        return cls(
            sum(weight.numel() for weight in matrices),
            sum(weight.numel() for weight in weights),
            sum(weight.shape[0] + weight.numel() // weight.shape[0] for weight in matrices),
            sum(weight.numel() for weight in weights if weight.numel() >= SMALLEST),
        )


def state_bytes(optimizer: options.Optimizer, numbers: TrainedNumbers, width: int) -> int:
    """Bytes of an optimiser's states.

    Args:
        width: bytes of a number of the weights that it changes.
    """
    match optimizer:
        case options.AdamW() | options.Muon():  # of Muon at most: embeddings and heads have AdamW's two states
            return 2 * width * numbers.all
        case options.AdamW8bit():
            return int(2 * _QUANTIZED_STATE * numbers.large) + 2 * 4 * (numbers.all - numbers.large)
        case options.Adafactor():
            return 4 * (numbers.edges + numbers.all - numbers.matrices)
        case options.Lion():
            return width * numbers.all
        case options.Sgd():
            return width * numbers.all if optimizer.momentum else 0
        case _:
            assert_never(optimizer)


def estimate_memory(
    recipe: TrainingRecipe,
    applied: Applied,
    precision: Precision,
    probed: Probe,
    *,
    device: str,
    micro_batches: int,
    data: int,
) -> MemoryFacts:
    """The parts of a step's highest point.

    Args:
        applied: the model with its method; shapes are enough. Its weights are in the formats of the run.
        probed: what the largest micro-batch takes.
        micro_batches: of an optimiser step in this process.
        data: bytes of the tokens.
    """
    module: Any = applied.module
    trained = {id(weight): weight for _, weight in applied.parameters()}
    numbers = TrainedNumbers.of(trained.values())
    masters = 4 * numbers.all if precision.copies is not None else 0
    width = 4 if precision.copies is not None else _width(trained.values())
    logits = min(_logits(recipe, module, precision, probed.supervised, device), probed.working)
    gradients = width * numbers.all
    if micro_batches == 1:  # they grow as the activations shrink
        gradients = max(gradients - probed.working, 0)
    parts = {
        "program": PROGRAM_GPU if device.startswith("cuda") else PROGRAM,
        "weights": _bytes(module),
        "masters": masters,
        "gradients": gradients,
        "optimizer": state_bytes(recipe.optimizer, numbers, width),
        "average": 4 * numbers.all if recipe.trainer.ema is not None else 0,
        "activations": probed.working - logits,
        "logits": logits,
        "data": 0 if device.startswith("cuda") else data,
    }
    return MemoryFacts(device, {name: size for name, size in parts.items() if size}, available_memory(device))


def _bytes(module: nn.Module) -> int:
    tensors = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return sum(tensor.nbytes for tensor in tensors.values())


def _width(weights: Any) -> int:
    return max((weight.element_size() for weight in weights), default=4)


def _logits(recipe: TrainingRecipe, module: Any, precision: Precision, supervised: int, device: str) -> int:
    """Logits of a chunk; beside them softmax and gradient, unless native kernels turn them into the gradient."""
    if recipe.kind in ("classify", "reward"):
        return 0
    entries = int(module.get_input_embeddings().weight.shape[0])
    example = torch.empty(0, dtype=precision.compute)
    in_place = device == "cpu" and not recipe.trainer.label_smoothing and kernels_for(example) is not None
    copies = example.element_size() if in_place else 2 * 4 + 2 * example.element_size()
    return min(recipe.trainer.loss_chunk, supervised) * entries * copies


# --- too much --------------------------------------------------------------------------------------------------------


def require_fit(recipe: TrainingRecipe, memory: MemoryFacts, *, micro_batch_size: int) -> None:
    """Refuse a run that does not fit.

    Raises:
        OutOfMemory: the estimate exceeds what is there; the hint says what to change, and how much each change saves.
    """
    if memory.total <= memory.available:
        return
    changes = savings(recipe, memory.parts, micro_batch_size=micro_batch_size)
    told = "; ".join(t("{change} saves {size}", change=change, size=format_bytes(size)) for change, size in changes)
    raise OutOfMemory(
        t("training needs about {needed} of memory on {device} and {available} is available", needed=format_bytes(
            memory.total), device=memory.device, available=format_bytes(memory.available)),
        needed=memory.total,
        available=memory.available,
        hint=told or t("Take a smaller model, or close other programs."),
    )  # fmt: skip


def savings(recipe: TrainingRecipe, parts: Mapping[str, int], *, micro_batch_size: int) -> list[tuple[str, int]]:
    """Changes of a recipe that lower its memory, with the bytes that each saves, the largest first."""
    trained = sum(parts.get(name, 0) for name in ("masters", "gradients", "optimizer", "average"))
    activations = parts.get("activations", 0)
    found: list[tuple[str, int]] = []
    if micro_batch_size > 1:
        found.append(("trainer.micro_batch_size: 1", activations * (micro_batch_size - 1) // micro_batch_size))
    if not recipe.trainer.activation_checkpointing:
        found.append(("trainer.activation_checkpointing: true", activations * 7 // 10))
    if recipe.trainer.loss_chunk > 256:
        found.append(("trainer.loss_chunk: 256", parts.get("logits", 0) * (recipe.trainer.loss_chunk - 256)
                      // recipe.trainer.loss_chunk))  # fmt: skip
    if isinstance(recipe.method, Full | Freeze) and recipe.model.start == "pretrained":
        found.append(("method: {kind: lora}", trained * 9 // 10))
    if isinstance(recipe.optimizer, options.AdamW):
        found.append(("optimizer: {kind: adamw-8bit}", parts.get("optimizer", 0) * 3 // 4))
    worth = [(change, size) for change, size in found if size > 2**20]
    return sorted(worth, key=lambda item: -item[1])
