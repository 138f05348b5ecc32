"""Encoder-decoder models: a target text from a source text."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llmasos.data.batches import IGNORED
from llmasos.training.batches import TransferBatch
from llmasos.training.objectives.flat import padded_arguments
from llmasos.training.objectives.network import decoder_states
from llmasos.training.objectives.objective import device_of
from llmasos.training.objectives.tokens import TokenObjective


class Seq2SeqObjective(TokenObjective[TransferBatch]):
    """Each token of the target is predicted from the source and the tokens before it."""

    def count(self, batch: TransferBatch) -> int:
        return batch.target.trained_count

    def _computed(self, module: nn.Module, batch: TransferBatch, *, logits: bool) -> tuple[Tensor, Tensor]:
        device = device_of(module)
        model: Any = module
        real = batch.target.documents > 0
        written = torch.from_numpy(np.where(real, batch.target.ids, IGNORED)).to(device)
        arguments = {
            **padded_arguments(batch.source, device),
            "decoder_input_ids": model.prepare_decoder_input_ids_from_labels(labels=written),
        }
        states = model(**arguments, use_cache=False).logits if logits else decoder_states(module, arguments)
        rows, places = np.nonzero(batch.target.labels != IGNORED)
        targets = torch.from_numpy(batch.target.labels[rows, places]).to(device)
        return states[torch.from_numpy(rows).to(device), torch.from_numpy(places).to(device)], targets
