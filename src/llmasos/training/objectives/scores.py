"""The scores that a classifier gives to texts, computed without padding where the model allows it.

The heads of classifiers read one state of a text: the first, or the last for decoder-only models. Which way a model
goes is found out by trying the known ways on a text and comparing with what the model itself says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmasos.data.batches import Batch
from llmasos.modeling.encoding import has_type_embeddings
from llmasos.training.objectives.flat import flatten, padded_arguments
from llmasos.training.objectives.network import Traits, alike, body_of, probe_ids, states_at
from llmasos.training.objectives.objective import device_of

Way = Callable[[Any, Tensor, Tensor], Tensor]
"""From a module and the (B, width) first and last states of texts to (B, classes) logits."""


def _last(module: Any, first: Tensor, last: Tensor) -> Tensor:
    logits: Tensor = module.score(last)
    return logits


def _pooled(module: Any, first: Tensor, last: Tensor) -> Tensor:
    logits: Tensor = module.classifier(module.dropout(body_of(module).pooler(first[:, None])))
    return logits


def _pooled_by_head(module: Any, first: Tensor, last: Tensor) -> Tensor:
    logits: Tensor = module.classifier(module.dropout(module.pooler(first[:, None])))
    return logits


def _features(module: Any, first: Tensor, last: Tensor) -> Tensor:
    logits: Tensor = module.classifier(first[:, None])
    return logits


def _two_layers(module: Any, first: Tensor, last: Tensor) -> Tensor:
    logits: Tensor = module.classifier(module.dropout(torch.relu(module.pre_classifier(first))))
    return logits


_WAYS: Mapping[str, tuple[Way, tuple[str, ...]]] = {
    "last": (_last, ("score",)),
    "pooled": (_pooled, ("classifier", "dropout")),
    "pooled_by_head": (_pooled_by_head, ("classifier", "dropout", "pooler")),
    "two_layers": (_two_layers, ("classifier", "dropout", "pre_classifier")),
    "features": (_features, ("classifier",)),
}


def find_way(module: nn.Module, traits: Traits) -> Way | None:
    """How the head reads its states; ``None``: unknown, or there would be nothing to gain."""
    if not traits.packable:
        return None
    model: Any = module
    if any(parameter.is_meta for parameter in module.parameters()):
        return None
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            ids = probe_ids(module, 7, 0)
            logits = model(input_ids=ids).logits
            states = body_of(module)(input_ids=ids).last_hidden_state
            for way, needed in _WAYS.values():
                if all(getattr(model, name, None) is not None for name in needed) and _fits(way, model, states, logits):
                    return way
    finally:
        module.train(was_training)
    return None


def _fits(way: Way, model: Any, states: Tensor, logits: Tensor) -> bool:
    try:
        return alike(logits, way(model, states[:, 0], states[:, -1]))
    except (TypeError, AttributeError, IndexError, RuntimeError, ValueError):
        return False  # a head of another form; what it raises is not for users


def scores_of(module: nn.Module, batch: Batch, traits: Traits, way: Way | None) -> Tensor:
    """(B, classes) logits of the texts of a batch, one document a row."""
    device = device_of(module)
    config: Any = module.config
    types = has_type_embeddings(config)
    if way is None:
        call: Any = module
        logits: Tensor = call(**padded_arguments(batch, device, types=types)).logits
        return logits
    flat = flatten(batch)
    extra = {"token_type_ids": torch.from_numpy(flat.types)[None].to(device)} if types else {}
    stops = np.cumsum(flat.lengths)
    starts = stops - np.asarray(flat.lengths)
    padding = config.get_text_config().pad_token_id
    lasts = [_last_token(flat.ids, int(start), int(stop), padding) for start, stop in zip(starts, stops, strict=True)]
    first, last = states_at(module, flat, np.array([*starts, *lasts], np.int64), **extra).chunk(2)
    return way(module, first, last)


def _last_token(ids: NDArray[np.int64], start: int, stop: int, padding: int | None) -> int:
    """The place of the last token that is not the padding token, which texts may end with: as transformers reads it."""
    if padding is None:
        return stop - 1
    found = np.flatnonzero(ids[start:stop] != padding)
    return start + int(found[-1]) if len(found) else stop - 1
