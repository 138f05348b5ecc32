"""Noise on embeddings: NEFTune (Jain et al., "NEFTune: Noisy Embeddings Improve Instruction Finetuning", 2023)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from llmasos.errors import InvalidRecipe
from llmasos.i18n import t
from llmasos.training.objectives.row import document_lengths


@contextmanager
def noisy_embeddings(module: nn.Module, alpha: float | None) -> Iterator[None]:
    """Inside the block every embedding gets uniform noise in ``±alpha / sqrt(T * D)`` in train mode.

    T is the length of the token's document where documents stand in a row, else that of the padded rows of the batch; D
    is the width of the embeddings. So the noise does not depend on how documents are put together.

    Raises:
        InvalidRecipe: the module has no token embeddings.
    """
    if alpha is None:
        yield
        return
    find: Any = getattr(module, "get_input_embeddings", None)
    embeddings = find() if find is not None else None
    if not isinstance(embeddings, nn.Module):
        raise InvalidRecipe(
            t("trainer.neftune = {alpha}: the model has no token embeddings", alpha=alpha),
            hint=t("Leave neftune out for this model."),
        )

    def add_noise(_module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        if not embeddings.training:
            return output
        tokens, width = output.shape[-2:]
        noise = torch.empty_like(output).uniform_(-1, 1)
        lengths = document_lengths()
        if lengths is None:
            return output + noise * (alpha / math.sqrt(tokens * width))
        assert sum(lengths) == tokens, "the row holds the documents and nothing else"
        each = torch.tensor(lengths, device=output.device)
        size = alpha / (each.repeat_interleave(each) * width).sqrt()
        return output + noise * size[:, None].to(output.dtype)

    handle = embeddings.register_forward_hook(add_noise)
    try:
        yield
    finally:
        handle.remove()
