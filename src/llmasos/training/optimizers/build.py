"""From the options of a recipe to an optimiser over groups of weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import torch

from llmasos.training.optimizers.adafactor import Adafactor
from llmasos.training.optimizers.adamw_8bit import AdamW8bit
from llmasos.training.optimizers.lion import Lion
from llmasos.training.optimizers.optimizer import NamedOptimizer
from llmasos.training.optimizers.sgd import Sgd
from llmasos.training.recipe import optimizers as options

MUON_OTHERS_RATE = 3e-4
"""Learning rate of what Muon leaves to AdamW, where the recipe says nothing."""


@dataclass(frozen=True)
class Group:
    """Weights that are changed alike.

    Attributes:
        weights: by name.
        factor: their learning rate, as a multiple of the run's.
        decay: whether matrices among them have weight decay; vectors never have.
    """

    weights: Mapping[str, torch.Tensor]
    factor: float = 1.0
    decay: bool = True


def build_optimizer(chosen: options.Optimizer, groups: Sequence[Group], *, rate: float) -> NamedOptimizer:
    """The optimiser that a recipe names.

    Args:
        groups: all weights that are trained now or later; one without gradient is left as it is.
        rate: highest learning rate of the run.
    """
    weights = {name: weight for group in groups for name, weight in group.weights.items()}
    match chosen:
        case options.Muon():
            return NamedOptimizer(_muon(chosen, groups, rate), weights)
        case options.AdamW():
            part: torch.optim.Optimizer = _adamw(list(_torch_groups(groups, chosen.weight_decay)), rate, chosen)
        case options.AdamW8bit():
            part = AdamW8bit(
                _torch_groups(groups, chosen.weight_decay),
                rate,
                betas=(chosen.beta1, chosen.beta2),
                eps=chosen.epsilon,
            )
        case options.Adafactor():
            part = Adafactor(
                _torch_groups(groups, chosen.weight_decay), rate, clip_threshold=chosen.clip_threshold
            )  # fmt: skip
        case options.Lion():
            part = Lion(_torch_groups(groups, chosen.weight_decay), rate, beta1=chosen.beta1, beta2=chosen.beta2)
        case options.Sgd():
            part = Sgd(
                _torch_groups(groups, chosen.weight_decay, key="decay"),
                rate,
                momentum=chosen.momentum,
                nesterov=chosen.nesterov,
            )
        case _:
            assert_never(chosen)
    return NamedOptimizer([part], weights)


def _torch_groups(groups: Sequence[Group], decay: float, *, key: str = "weight_decay") -> Iterator[dict[str, Any]]:
    """Groups as torch takes them: matrices apart from vectors, weights that are sharded apart from whole ones."""
    for group in groups:
        parts: dict[tuple[bool, type], list[torch.Tensor]] = {}
        for weight in group.weights.values():
            parts.setdefault((group.decay and weight.dim() >= 2, type(weight.data)), []).append(weight)
        for (decays, _), weights in parts.items():
            yield {"params": weights, "factor": group.factor, key: decay if decays else 0.0}


def _adamw(
    groups: list[dict[str, Any]], rate: float, chosen: options.AdamW | None = None, *, beta2: float = 0.999
) -> torch.optim.Optimizer:
    betas = (chosen.beta1, chosen.beta2) if chosen else (0.9, beta2)
    return torch.optim.AdamW(
        groups, lr=rate, betas=betas, eps=chosen.epsilon if chosen else 1e-8, weight_decay=0.0, fused=True
    )


def _muon(chosen: options.Muon, groups: Sequence[Group], rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for embeddings, heads and vectors.

    With the scale of Liu et al., "Muon is Scalable for LLM Training" (2025), the rates known for AdamW fit Muon too.
    """
    others_rate = chosen.adamw_learning_rate or MUON_OTHERS_RATE
    matrices, others = [], []
    for group in groups:
        inner = {name: weight for name, weight in group.weights.items() if weight.dim() == 2 and in_layers(name)}
        outer = {name: weight for name, weight in group.weights.items() if name not in inner}
        if inner:
            matrices.append(Group(inner, group.factor, group.decay))
        if outer:
            others.append(Group(outer, group.factor * others_rate / rate, group.decay))
    parts: list[torch.optim.Optimizer] = []
    if matrices:
        parts.append(
            torch.optim.Muon(
                _torch_groups(matrices, chosen.weight_decay),
                lr=rate,
                momentum=chosen.momentum,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    if others:
        parts.append(_adamw(list(_torch_groups(others, chosen.weight_decay)), rate))
    return parts


def in_layers(name: str) -> bool:
    """Whether a parameter belongs to one of the numbered layers, as ``model.layers.3.mlp.up_proj.weight`` does."""
    return any(part.isdigit() for part in name.split("."))
