"""The loss of a language model's head at the positions that are learned."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from llmasos.training.kernels.cross_entropy import linear_cross_entropy
from llmasos.training.objectives.network import Head


def token_loss(hidden: Tensor, head: Head, targets: Tensor, *, chunk: int, label_smoothing: float) -> Tensor:
    """() the summed cross entropy.

    Args:
        hidden: (N, width) states from which the targets are predicted.
        targets: (N,) token ids.
        chunk: positions whose logits are in memory at once.
    """
    if not len(targets):  # keeps the graph, so that every process goes through the same backward pass
        return hidden.sum(dtype=torch.float32) * 0.0
    if head.weight is not None:
        return linear_cross_entropy(
            hidden, head.weight, head.bias, targets,
            chunk=chunk, label_smoothing=label_smoothing, transform=head.transform,
        )  # fmt: skip
    total: Tensor | None = None
    for start in range(0, len(hidden), chunk):
        part: Any = checkpoint(
            _chunk_loss, head, hidden[start : start + chunk], targets[start : start + chunk], label_smoothing,
            use_reentrant=False,
        )  # fmt: skip
        total = part if total is None else total + part
    assert total is not None
    return total


def _chunk_loss(head: Head, hidden: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    return logits_loss(head.transform(head.function(hidden)), targets, label_smoothing=label_smoothing)


def logits_loss(logits: Tensor, targets: Tensor, *, label_smoothing: float) -> Tensor:
    """() the summed cross entropy of (N, vocab) logits, in float32 at least."""
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return functional.cross_entropy(exact, targets, reduction="sum", label_smoothing=label_smoothing)


def token_sums(logits: Tensor, targets: Tensor) -> dict[str, float]:
    """What is measured at the learned positions of (N, vocab) logits: loss, tokens and right guesses, added."""
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    loss = functional.cross_entropy(exact, targets, reduction="none").sum(dtype=torch.float64)
    right = (exact.argmax(-1) == targets).sum()
    return {"loss": float(loss), "tokens": float(len(targets)), "right": float(right)}


def token_summary(sums: Any) -> dict[str, float]:
    """Loss and accuracy a token, and the perplexity."""
    count = max(sums.get("tokens", 0.0), 1.0)
    loss = sums.get("loss", 0.0) / count
    return {
        "loss": loss,
        "perplexity": float(torch.tensor(loss, dtype=torch.float64).exp()),
        "accuracy": sums.get("right", 0.0) / count,
    }


HIGHER_IS_BETTER = {"loss": False, "perplexity": False, "accuracy": True}
