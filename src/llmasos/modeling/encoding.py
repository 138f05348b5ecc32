"""Texts to padded batches for encoders: length rules, order by length, masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from llmasos.errors import ContextLengthExceeded, InvalidRequest
from llmasos.i18n import t
from llmasos.modeling.options import Truncation
from llmasos.modeling.tokenizer import Encoded, Tokenizer

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


def check_batch_size(batch_size: object) -> int:
    """The number of texts per batch, checked.

    Raises:
        InvalidRequest: not a whole number from 1.
    """
    if batch_size is None:
        return DEFAULT_BATCH_SIZE
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise InvalidRequest(
            t("{name} = {value}: allowed is {allowed}",
              name="batch_size", value=repr(batch_size), allowed=t("a whole number from {low}", low=1)),
            hint=t("Leave it out to let LLMasOS choose."),
        )  # fmt: skip
    return batch_size


def batches(
    encoded: Sequence[Encoded], batch_size: int, alike: Callable[[Encoded], int] = lambda item: 0
) -> Iterator[list[int]]:
    """Indices of texts that go together: longest first, so that little is padding.

    Args:
        alike: texts share a batch only if this gives the same for them.
    """
    batch: list[int] = []
    kinds = [alike(item) for item in encoded]
    for index in sorted(range(len(encoded)), key=lambda index: (kinds[index], -len(encoded[index].ids))):
        if batch:
            longest = len(encoded[batch[0]].ids)
            full = len(batch) == batch_size or (len(batch) + 1) * longest > MOST_TOKENS
            if full or kinds[batch[0]] != kinds[index]:
                yield batch
                batch = []
        batch.append(index)
    if batch:
        yield batch


def padded(encoded: Sequence[Encoded], *, pad_id: int, type_ids: bool, left: bool, device: str) -> dict[str, Any]:
    """Model inputs (rows, longest): ``input_ids``, ``attention_mask`` and, if the model has them, ``token_type_ids``.

    Args:
        left: pad before the text (decoder-only models, whose last token sums up the text).
    """
    longest = max(len(item.ids) for item in encoded)
    ids = torch.full((len(encoded), longest), pad_id, dtype=torch.long)
    mask = torch.zeros((len(encoded), longest), dtype=torch.long)
    types = torch.zeros((len(encoded), longest), dtype=torch.long)
    for row, item in enumerate(encoded):
        length = len(item.ids)
        place = slice(longest - length, longest) if left else slice(0, length)
        ids[row, place] = torch.tensor(item.ids)
        mask[row, place] = 1
        types[row, place] = torch.tensor(item.type_ids)
    inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
    if type_ids:
        inputs["token_type_ids"] = types.to(device)
    return inputs


def has_type_embeddings(config: Any) -> bool:
    """Whether a model tells the two texts of a pair apart by ``token_type_ids`` (BERT does, RoBERTa has one type)."""
    return int(getattr(config, "type_vocab_size", 0) or 0) > 1
