"""Linear layers that read the same input, with low-rank updates, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Projection:
    """``x @ weight.T + bias + scale * (x @ a.T) @ b.T``.

    Attributes:
        weight: (out, in); bias: (out,).
        a: (rank, in), b: (out, rank): of a low-rank update, if there is one.
    """

    weight: Tensor
    bias: Tensor | None = None
    a: Tensor | None = None
    b: Tensor | None = None
    scale: float = 1.0

    def tensors(self) -> tuple[Tensor | None, ...]:
        """Weight, bias, a and b."""
        return self.weight, self.bias, self.a, self.b


Needs = Sequence[tuple[bool, bool, bool, bool]]
"""For each projection, which of its tensors need a gradient."""
Grads = list[Tensor | None]


def project(x: Tensor, group: Sequence[Projection]) -> list[Tensor]:
    """The (T, out) outputs of projections of (T, in) ``x``."""
    reduced = _reduced(x, group)
    outputs = []
    for item, low in zip(group, reduced, strict=True):
        output = functional.linear(x, item.weight, item.bias)
        if low is not None:
            assert item.b is not None
            output.addmm_(low, item.b.T, alpha=item.scale)
        outputs.append(output)
    return outputs


def project_backward(
    x: Tensor, group: Sequence[Projection], grads: Sequence[Tensor], needs: Needs, *, needs_input: bool
) -> tuple[Tensor | None, Grads]:
    """The gradient of ``x``, and those of weight, bias, a and b of each projection in turn.

    Args:
        grads: (T, out) of the outputs.
    """
    reduced = _reduced(x, group) if any(need[3] for need in needs) else [None] * len(group)
    found: list[list[Tensor | None]] = []
    low_grads: list[Tensor | None] = []
    total: Tensor | None = None
    for item, grad, need, low in zip(group, grads, needs, reduced, strict=True):
        if needs_input:
            total = grad @ item.weight if total is None else total.addmm_(grad, item.weight)
        low_grads.append(None if item.b is None else (grad @ item.b).mul_(item.scale))
        found.append([
            grad.T @ x if need[0] else None,
            grad.sum(0) if need[1] else None,
            None,
            (grad.T @ low).mul_(item.scale) if need[3] and low is not None else None,
        ])  # fmt: skip
    given = [low for low in low_grads if low is not None]
    if given:
        stacked = torch.cat(given, 1)
        if total is not None:
            total.addmm_(stacked, _stacked(group))
        if any(need[2] for need in needs):
            parts = iter(torch.split(stacked.T @ x, [low.shape[1] for low in given]))
            for row, low, need in zip(found, low_grads, needs, strict=True):
                if low is not None:
                    part = next(parts)
                    row[2] = part if need[2] else None
    return total, [grad for row in found for grad in row]


def _stacked(group: Sequence[Projection]) -> Tensor:
    """The matrices ``a`` of a group one below the other."""
    return torch.cat([item.a for item in group if item.a is not None])


def _reduced(x: Tensor, group: Sequence[Projection]) -> list[Tensor | None]:
    """``x @ a.T`` for each projection that has an ``a``, in one product."""
    ranks = [item.a.shape[0] for item in group if item.a is not None]
    if not ranks:
        return [None] * len(group)
    parts = iter(torch.split(x @ _stacked(group).T, ranks, 1))
    return [None if item.a is None else next(parts) for item in group]
