"""The bridge from a model's tokenizer to llguidance."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmasos.engine.text_decoder import TextDecoder, text_decoder
from llmasos.errors import Unsupported
from llmasos.i18n import t

if TYPE_CHECKING:
    from llguidance import LLTokenizer

logger = logging.getLogger(__name__)

# Put in front of a text to be encoded and cut off again: some tokenizers add a space at the very beginning of a text,
# and here a text always goes on. A control character merges with nothing.
_GUARD = "\x02"


class GrammarVocabulary:
    """Tokens of a model as bytes, in the form llguidance takes. One per model; made when first needed.

    Building takes 0.1 s for 49,000 tokens and about 1 s for 262,000.
    """

    def __init__(self, tokenizer: Any, *, vocabulary_size: int, eos_ids: Sequence[int]) -> None:
        """Args:
        tokenizer: a :class:`tokenizers.Tokenizer` or a transformers tokenizer.
        vocabulary_size: columns of the logits; ids beyond the tokenizer's are never allowed.
        eos_ids: tokens that end an output.
        """
        self._source = tokenizer
        self.vocabulary_size = vocabulary_size
        self.eos_ids = tuple(eos_ids)
        self._built: LLTokenizer | None = None
        self._lock = threading.Lock()

    @property
    def tokenizer(self) -> LLTokenizer:
        """llguidance's tokenizer.

        Raises:
            Unsupported: the tokenizer's tokens have no text of their own, or the model has no end token.
        """
        with self._lock:
            if self._built is None:
                self._built = self._build()
            return self._built

    def _build(self) -> LLTokenizer:
        from llguidance import LLTokenizer, TokenizerWrapper

        started = time.perf_counter()
        if not self.eos_ids:
            raise Unsupported(t("constrained output needs an end token, and this model names none"))
        backend = getattr(self._source, "backend_tokenizer", self._source)
        decoder = text_decoder(backend)
        if decoder.bytes_of(0) is None or not hasattr(backend, "id_to_token"):
            raise Unsupported(
                t("constrained output is not possible with this model: a token's text depends on its neighbours"),
                hint=t("Models with a byte-level or SentencePiece (byte fallback) tokenizer can be constrained."),
            )
        count = min(backend.get_vocab_size(with_added_tokens=True), self.vocabulary_size)
        spelling = Spelling(backend, decoder, count, self.eos_ids[0])
        built = LLTokenizer(TokenizerWrapper(spelling), n_vocab=self.vocabulary_size, eos_token=list(self.eos_ids))
        logger.debug("vocabulary of %d tokens for grammars built in %.2f s", count, time.perf_counter() - started)
        return built


class Spelling:
    """What :class:`llguidance.TokenizerWrapper` asks of a tokenizer: bytes of all tokens, and a way to encode."""

    def __init__(self, backend: Any, decoder: TextDecoder, count: int, eos_id: int) -> None:
        self._backend = backend
        self._decoder = decoder
        self.eos_token_id = eos_id
        self.bos_token_id = None
        self.special_token_ids = sorted(token for token in decoder.special if token < count)
        self.tokens = [decoder.bytes_of(token) or b"" for token in range(count)]
        self._guard = self._encode(_GUARD)
        self._by_bytes: dict[bytes, int] = {}
        self._longest = 0

    def __call__(self, text: bytes | str) -> list[int]:
        """Tokens that spell ``text`` exactly, as the model's tokenizer would inside a text."""
        if isinstance(text, str):
            text = text.encode()
        words = text.decode()
        ids = self._encode(words)
        if self._spells(ids, text):
            return ids
        ids = self._encode(_GUARD + words)
        kept = ids[len(self._guard) :]
        if ids[: len(self._guard)] == self._guard and self._spells(kept, text):
            return kept
        return self._greedy(text)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids

    def _spells(self, ids: list[int], text: bytes) -> bool:
        # The name of a special token in a text is text: the token itself must not be taken for it.
        if any(token >= len(self.tokens) or token in self._decoder.special for token in ids):
            return False
        return b"".join(self.tokens[token] for token in ids) == text

    def _greedy(self, text: bytes) -> list[int]:
        """The longest token at each place."""
        if not self._by_bytes:
            special = set(self.special_token_ids)
            for token, spelled in enumerate(self.tokens):
                if spelled and token not in special:
                    self._by_bytes.setdefault(spelled, token)
            self._longest = max(map(len, self._by_bytes), default=0)
        ids: list[int] = []
        place = 0
        while place < len(text):
            for length in range(min(self._longest, len(text) - place), 0, -1):
                found = self._by_bytes.get(text[place : place + length])
                if found is not None:
                    ids.append(found)
                    place += length
                    break
            else:
                break  # no token spells this byte; llguidance goes on from here by itself
        return ids
