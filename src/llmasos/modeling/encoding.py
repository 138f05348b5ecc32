"""Texts to padded batches for encoders: length rules, order by length, masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from llmasos.errors import ContextLengthExceeded, InvalidRequest
from llmasos.i18n import t
from llmasos.modeling.backend import EncoderInput, EncoderNetwork
from llmasos.modeling.options import Truncation
from llmasos.modeling.tokenizer import Encoded, Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_TOKENS = 16_384
"""Tokens of one batch, padding included; bounds the memory of activations."""
DEFAULT_BATCH_SIZE = 32


def encode_texts(
    tokenizer: Tokenizer, texts: Sequence[tuple[str, str | None]], limit: int | None, truncate: Truncation | None
) -> list[Encoded]:
    """Encode texts or pairs that must fit the model.

    Raises:
        ContextLengthExceeded: one does not fit and ``truncate`` is not given; the message says which.
    """
    encoded = []
    for index, (text, pair) in enumerate(texts):
        item = tokenizer.encode(text, pair)
        if limit is not None and len(item.ids) > limit:
            if truncate is None:
                raise ContextLengthExceeded(
                    t("text {number} has {length} tokens; the model reads at most {limit}",
                      number=index + 1, length=len(item.ids), limit=limit),
                    hint=t("Shorten the text, or pass truncate=\"end\" or truncate=\"start\"."),
                )  # fmt: skip
            item = tokenizer.encode(text, pair, limit=limit, truncate=truncate)
        encoded.append(item)
    return encoded


def check_batch_size(batch_size: object) -> int | None:
    """The number of texts per batch, checked; ``None`` leaves the choice to what computes.

    Raises:
        InvalidRequest: not a whole number from 1.
    """
    if batch_size is None:
        return None
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise InvalidRequest(
            t("{name} = {value}: allowed is {allowed}",
              name="batch_size", value=repr(batch_size), allowed=t("a whole number from {low}", low=1)),
            hint=t("Leave it out to let LLMasOS choose."),
        )  # fmt: skip
    return batch_size


def batches(
    lengths: Sequence[int], batch_size: int, kind: Callable[[int], int] = lambda index: 0
) -> Iterator[list[int]]:
    """Indices of texts that go together: longest first, so that little is padding.

    Args:
        lengths: tokens of each text.
        kind: texts share a batch only if this gives the same for their indices.
    """
    batch: list[int] = []
    kinds = [kind(index) for index in range(len(lengths))]
    for index in sorted(range(len(lengths)), key=lambda index: (kinds[index], -lengths[index])):
        if batch:
            full = len(batch) == batch_size or (len(batch) + 1) * lengths[batch[0]] > MOST_TOKENS
            if full or kinds[batch[0]] != kinds[index]:
                yield batch
                batch = []
        batch.append(index)
    if batch:
        yield batch


class DirectEncoderBackend:
    """Runs the texts of one call in batches, on the caller's thread. See :class:`~.backend.EncoderBackend`."""

    def __init__(self, network: EncoderNetwork) -> None:
        self._network = network

    @property
    def device(self) -> str:
        return self._network.device

    @property
    def dtype(self) -> str:
        return self._network.dtype

    def encode(self, inputs: Sequence[EncoderInput], batch_size: int | None) -> list[NDArray[np.float32]]:
        network = self._network
        size = batch_size or DEFAULT_BATCH_SIZE if network.batchable else 1
        results: dict[int, NDArray[np.float32]] = {}
        for batch in batches([len(item.ids) for item in inputs], size, lambda index: network.kind(inputs[index].ids)):
            found = network.forward([inputs[index] for index in batch])
            results.update(zip(batch, found, strict=True))
        return [results[index] for index in range(len(inputs))]

    def close(self) -> None:
        self._network.close()


def padded(inputs: Sequence[EncoderInput], *, pad_id: int, type_ids: bool, device: str) -> dict[str, torch.Tensor]:
    """Model inputs (rows, longest): ``input_ids``, ``attention_mask`` and perhaps ``token_type_ids``."""
    longest = max(len(item.ids) for item in inputs)
    ids = torch.full((len(inputs), longest), pad_id, dtype=torch.long)
    mask = torch.zeros((len(inputs), longest), dtype=torch.long)
    types = torch.zeros((len(inputs), longest), dtype=torch.long)
    for row, item in enumerate(inputs):
        length = len(item.ids)
        ids[row, :length] = torch.tensor(item.ids)
        mask[row, :length] = 1
        if item.type_ids:
            types[row, :length] = torch.tensor(item.type_ids)
    found = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
    if type_ids:
        found["token_type_ids"] = types.to(device)
    return found


def has_type_embeddings(config: Any) -> bool:
    """Whether a model tells the two texts of a pair apart by ``token_type_ids`` (BERT does, RoBERTa has one type)."""
    return int(getattr(config, "type_vocab_size", 0) or 0) > 1
