"""Next-token prediction: pretraining and supervised fine-tuning of decoder-only models."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llmasos.data.batches import IGNORED, Batch
from llmasos.training.objectives.flat import flatten, padded_arguments
from llmasos.training.objectives.network import body_of, states_at
from llmasos.training.objectives.objective import device_of
from llmasos.training.objectives.tokens import TokenObjective


class CausalObjective(TokenObjective[Batch]):
    """Each token is predicted from those before it in its document.

    The body runs over real tokens only where the model is packable.
    """

    def count(self, batch: Batch) -> int:
        return int(np.count_nonzero(batch.labels[:, 1:] != IGNORED))

    def _computed(self, module: nn.Module, batch: Batch, *, logits: bool) -> tuple[Tensor, Tensor]:
        device = device_of(module)
        if self._traits.packable and not logits:
            flat = flatten(batch)
            return states_at(module, flat, flat.predicting), torch.from_numpy(flat.targets).to(device)
        model: Any = module if logits else body_of(module)
        output = model(**padded_arguments(batch, device), use_cache=False)
        found = output.logits if logits else output.last_hidden_state
        rows, places = np.nonzero(batch.labels[:, 1:] != IGNORED)
        targets = torch.from_numpy(batch.labels[:, 1:][rows, places]).to(device)
        return found[torch.from_numpy(rows).to(device), torch.from_numpy(places).to(device)], targets
