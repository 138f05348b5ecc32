"""Tokenizers without a fast implementation: Marian and M2M100 (SentencePiece), ByT5, Japanese BERT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from llmasos.library.digest import digest_of, digest_of_file
from llmasos.modeling.options import Truncation
from llmasos.modeling.tokenizer import (
    Encoded,
    SpecialTokens,
    Tokenizer,
    longest_first,
    plausible_length,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class LegacyTokenizer(Tokenizer):
    """A tokenizer that transformers implements in Python."""

    def __init__(self, backend: PreTrainedTokenizerBase) -> None:
        self._backend = cast(Any, backend)
        self._lock = Lock()  # Marian's tokenizer switches between source and target mode
        self._writes_target = False
        texts = {name: str(value) for name, value in self._backend.special_tokens_map.items() if isinstance(value, str)}
        ids = {name: self._backend.convert_tokens_to_ids(text) for name, text in texts.items()}
        self.special = SpecialTokens(texts, ids)

    @cached_property
    def vocabulary_size(self) -> int:
        return len(self._backend)

    @cached_property
    def added_tokens(self) -> Mapping[str, bool]:
        return {token.content: token.special for token in self._backend.added_tokens_decoder.values()}

    @property
    def maximum_length(self) -> int | None:
        return plausible_length(self._backend.model_max_length)

    def encode(
        self,
        text: str,
        pair: str | None = None,
        *,
        add_special_tokens: bool = True,
        limit: int | None = None,
        truncate: Truncation = "end",
    ) -> Encoded:
        with self._lock:
            if not self._writes_target:
                return self._encode(text, pair, add_special_tokens, limit, truncate)
            self._backend._switch_to_target_mode()
            try:
                return self._encode(text, pair, add_special_tokens, limit, truncate)
            finally:
                self._backend._switch_to_input_mode()

    @property
    def target(self) -> Tokenizer:
        if not hasattr(self._backend, "spm_target"):
            return self
        other = copy(self)  # the same backend and lock
        other._writes_target = True
        return other

    @cached_property
    def digest(self) -> str:
        """Of the files that transformers would save, since its tokenizers have no other complete description."""
        with TemporaryDirectory() as folder:
            with self._lock:
                self._backend.save_pretrained(folder)
            files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
            parts = [type(self._backend).__name__, *(f"{path.name} {digest_of_file(path)}" for path in files)]
        return digest_of("\n".join(parts).encode())

    def _encode(
        self, text: str, pair: str | None, add_special_tokens: bool, limit: int | None, truncate: Truncation
    ) -> Encoded:
        backend = self._backend
        first = backend.encode(text, add_special_tokens=False)
        second = None if pair is None else backend.encode(pair, add_special_tokens=False)
        truncated = 0
        if limit is not None:
            edges = backend.num_special_tokens_to_add(pair is not None) if add_special_tokens else 0
            keep_first, keep_second = longest_first(len(first), len(second or ()), max(limit - edges, 0))
            truncated = len(first) - keep_first + len(second or ()) - (keep_second if second else 0)
            first = _cut(first, keep_first, truncate)
            second = None if second is None else _cut(second, keep_second, truncate)
        whole = backend.prepare_for_model(
            first,
            second,
            add_special_tokens=add_special_tokens,
            return_token_type_ids=True,
            return_special_tokens_mask=True,
            return_attention_mask=False,
        )
        return Encoded(
            list(whole["input_ids"]),
            list(whole["token_type_ids"]),
            [bool(flag) for flag in whole["special_tokens_mask"]],
            None,
            truncated,
        )

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        extra = {"use_source_tokenizer": False} if hasattr(self._backend, "spm_target") else {}
        with self._lock:
            return str(self._backend.decode(list(ids), skip_special_tokens=skip_special_tokens, **extra))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        with self._lock:
            return [str(piece) for piece in self._backend.convert_ids_to_tokens(list(ids))]

    def token_id(self, text: str) -> int | None:
        return self._vocabulary.get(text)

    def language_tokens(self) -> list[str]:
        marks = [text for text in self._vocabulary if text.startswith(">>") and text.endswith("<<")]
        return [*self.added_tokens, *marks]

    @cached_property
    def _vocabulary(self) -> dict[str, int]:
        return dict(self._backend.get_vocab())


def _cut(ids: list[int], keep: int, truncate: Truncation) -> list[int]:
    return ids[:keep] if truncate == "end" else ids[len(ids) - keep :]
