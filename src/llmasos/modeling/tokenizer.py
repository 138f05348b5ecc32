"""Text to token ids and back.

:class:`FastTokenizer` reads ``tokenizer.json`` with the ``tokenizers`` package alone: no transformers, no torch, and
exactly the pipeline that the model was trained with. Models without that file (SentencePiece of Marian, vocabulary
files of older models) go through :mod:`llmasos.modeling.legacy_tokenizer`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmasos.errors import IntegrityError, InvalidRequest, MissingDependency
from llmasos.i18n import t
from llmasos.library.digest import digest_of
from llmasos.modeling.options import Truncation
from llmasos.modeling.prompt import BatchEncodedPrompt, EncodedPrompt, PlacedPrompt, Prompt, UnplacedPrompt

if TYPE_CHECKING:
    import tokenizers


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text, or a pair of texts, as the model wants it."""

    ids: list[int]
    type_ids: list[int]
    """Which text of a pair each token belongs to."""
    special: list[bool]
    """Tokens that the tokenizer added, such as ``[CLS]``."""
    offsets: list[tuple[int, int]] | None
    truncated: int = 0
    """Tokens cut off to keep within the length asked for."""


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The named special tokens of a tokenizer and the ids they have in its vocabulary."""

    texts: Mapping[str, str]
    """``bos_token``, ``eos_token``, ``pad_token``, ... as named in the tokenizer's configuration."""
    ids: Mapping[str, int]

    def id(self, name: str) -> int | None:
        """The id of ``bos``, ``eos``, ``pad``, ... or ``None`` if the tokenizer has no such token."""
        return self.ids.get(f"{name}_token")


class Tokenizer(ABC):
    """What every tokenizer can do. Instances may be used from several threads at once."""

    special: SpecialTokens

    @property
    @abstractmethod
    def vocabulary_size(self) -> int:
        """Ids that the tokenizer can produce, added tokens included."""

    @property
    @abstractmethod
    def added_tokens(self) -> Mapping[str, bool]:
        """Every added token and whether it is special."""

    @property
    @abstractmethod
    def maximum_length(self) -> int | None:
        """Longest input in tokens that the tokenizer's configuration names, if any."""

    @abstractmethod
    def encode(
        self,
        text: str,
        pair: str | None = None,
        *,
        add_special_tokens: bool = True,
        limit: int | None = None,
        truncate: Truncation = "end",
    ) -> Encoded:
        """Encode a text or a pair; with ``limit`` cut to that many tokens, of a pair the longer text first."""

    @abstractmethod
    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of token ids. Ids without an entry have no text: output layers are often wider than vocabularies."""

    @abstractmethod
    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The vocabulary entries of token ids."""

    @abstractmethod
    def token_id(self, text: str) -> int | None:
        """The id of a vocabulary entry, ``None`` if there is no such entry."""

    @abstractmethod
    def language_tokens(self) -> list[str]:
        """Entries that may stand for languages: all added tokens, and those of the form ``>>code<<``."""

    def check_ids(self, ids: Sequence[int]) -> None:
        """Refuse what a caller wrongly took for token ids.

        Raises:
            InvalidRequest: an id is not in the vocabulary.
        """
        size = self.vocabulary_size
        for token in ids:
            if not isinstance(token, int) or isinstance(token, bool) or not 0 <= token < size:
                raise InvalidRequest(
                    t("{value} is no token id of this model", value=repr(token)),
                    hint=t("Token ids of this model go from 0 to {last}.", last=size - 1),
                )

    @property
    def target(self) -> Tokenizer:
        """The tokenizer of what the model writes; another than that of its input only for Marian."""
        return self

    @property
    @abstractmethod
    def digest(self) -> str:
        """A SHA-256 of everything that decides which tokens a text becomes."""

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """Encode a rendered conversation; literal segments never become control tokens."""
        if len(prompt.segments) == 1 and not prompt.segments[0].literal:
            return self.encode(prompt.segments[0].text, add_special_tokens=False).ids
        return [token for piece, _ in self._encoded_pieces(prompt, self._encode_bare) for token in piece.ids]

    def encode_prompts(self, prompts: Sequence[Prompt]) -> list[EncodedPrompt]:
        """Encode rendered conversations as :meth:`encode_prompt` does, with the places of the tokens in their texts."""
        return [self._placed(prompt) for prompt in prompts]

    def encode_continuation(self, prompt: Prompt) -> list[int]:
        """Encode a text that follows another one, as a model would write it after the tokens of that one."""
        pieces = self._encoded_pieces(prompt, self._encode_bare, continues=True)
        return [token for piece, _ in pieces for token in piece.ids]

    def _placed(self, prompt: Prompt) -> EncodedPrompt:
        ids: list[int] = []
        offsets: list[tuple[int, int]] | None = []
        for piece, begin in self._encoded_pieces(prompt, self._encode_placed):
            ids += piece.ids
            if piece.offsets is None:
                offsets = None
            if offsets is not None:
                offsets += [(begin + start, begin + end) for start, end in piece.offsets or ()]
        return UnplacedPrompt(ids) if offsets is None else PlacedPrompt(ids, offsets)

    def _encoded_pieces(
        self, prompt: Prompt, encode: Callable[[str], Encoded], *, continues: bool = False
    ) -> Iterator[tuple[Encoded, int]]:
        """The segments of a prompt, encoded one by one, and where each begins in the text."""
        begin = 0
        for segment in prompt.segments:
            for text in self._ordinary_parts(segment.text) if segment.literal else [segment.text]:
                yield self._encode_middle(text, encode) if begin or continues else encode(text), begin
                begin += len(text)

    def _encode_bare(self, text: str) -> Encoded:
        return self.encode(text, add_special_tokens=False)

    def _encode_placed(self, text: str) -> Encoded:
        """The same tokens with places that leave no character out."""
        return self._encode_bare(text)

    def _ordinary_parts(self, token: str) -> list[str]:
        """A control token cut so that no part of it is one: they are recognised as a whole only."""
        parts = [token[:1], token[1:]]
        if any(text in parts[1] for text in self.added_tokens):  # a token within the token
            parts = list(token)
        return [part for part in parts if part]

    def _encode_middle(self, text: str, encode: Callable[[str], Encoded]) -> Encoded:
        """Encode text that does not stand at the beginning: SentencePiece would put a space before it there."""
        joined = encode("\n" + text)
        count = len(self._line_break)
        if joined.ids[:count] != self._line_break:
            return encode(text)
        offsets = joined.offsets and [(max(start - 1, 0), end - 1) for start, end in joined.offsets[count:]]
        return Encoded(joined.ids[count:], joined.type_ids[count:], joined.special[count:], offsets)

    @cached_property
    def _line_break(self) -> list[int]:
        return self.encode("\n", add_special_tokens=False).ids


class FastTokenizer(Tokenizer):
    """A tokenizer of the ``tokenizers`` package.

    Args:
        backend: the pipeline; its truncation and padding are switched off.
        config: content of ``tokenizer_config.json`` and ``special_tokens_map.json``.
    """

    def __init__(self, backend: tokenizers.Tokenizer, config: Mapping[str, Any]) -> None:
        self._backend = backend
        # Some files carry the settings of a training run (MiniLM: cut at 128 tokens, pad to 128).
        backend.no_truncation()
        backend.no_padding()
        self.special = named_special_tokens(config, backend.token_to_id)
        self._maximum_length = plausible_length(config.get("model_max_length"))

    @classmethod
    def from_file(cls, file: Path, config: Mapping[str, Any]) -> FastTokenizer:
        """Read ``tokenizer.json``.

        Raises:
            IntegrityError: the file is damaged.
            MissingDependency: the package ``tokenizers`` is not installed.
        """
        try:
            from tokenizers import Tokenizer as Backend
        except ImportError as error:
            raise MissingDependency(
                t("running a model needs the package {name}", name="tokenizers"), hint='pip install "llmasos[local]"'
            ) from error
        try:
            backend = Backend.from_file(str(file))
        except Exception as error:  # the Rust library raises nothing more specific
            raise IntegrityError(
                t("{path} is damaged: {problem}", path=file.name, problem=error),
                hint=t("Pull or import the model again."),
            ) from error
        return cls(backend, config)

    @property
    def backend(self) -> tokenizers.Tokenizer:
        """The pipeline itself, for what works on its parts (streaming, grammars)."""
        return self._backend

    @cached_property
    def vocabulary_size(self) -> int:
        return self._backend.get_vocab_size(with_added_tokens=True)

    @cached_property
    def added_tokens(self) -> Mapping[str, bool]:
        return {token.content: token.special for token in self._backend.get_added_tokens_decoder().values()}

    @property
    def maximum_length(self) -> int | None:
        return self._maximum_length

    def encode(
        self,
        text: str,
        pair: str | None = None,
        *,
        add_special_tokens: bool = True,
        limit: int | None = None,
        truncate: Truncation = "end",
    ) -> Encoded:
        first = self._backend.encode(text, add_special_tokens=False)
        second = None if pair is None else self._backend.encode(pair, add_special_tokens=False)
        truncated = 0
        if limit is not None:
            edges = self._backend.num_special_tokens_to_add(pair is not None) if add_special_tokens else 0
            room = max(limit - edges, 0)
            keep_first, keep_second = longest_first(len(first), len(second or ()), room)
            direction = "right" if truncate == "end" else "left"
            truncated = len(first) - keep_first
            first.truncate(keep_first, direction=direction)
            if second is not None:
                truncated += len(second) - keep_second
                second.truncate(keep_second, direction=direction)
        whole = self._backend.post_process(first, second, add_special_tokens)
        return Encoded(
            whole.ids, whole.type_ids, [bool(flag) for flag in whole.special_tokens_mask], whole.offsets, truncated
        )

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        return self._backend.decode(list(ids), skip_special_tokens=skip_special_tokens)

    @cached_property
    def digest(self) -> str:
        parts = json.dumps([self._backend.to_str(), dict(self.special.texts)], sort_keys=True)
        return digest_of(parts.encode())

    def encode_prompts(self, prompts: Sequence[Prompt]) -> list[EncodedPrompt]:
        whole = [index for index, prompt in enumerate(prompts) if not any(part.literal for part in prompt.segments)]
        texts = [str(prompts[index]) for index in whole]
        encodings = self._placing_backend.encode_batch(texts, add_special_tokens=False)
        found: dict[int, EncodedPrompt] = {
            index: BatchEncodedPrompt(encoding, len(text))
            for index, encoding, text in zip(whole, encodings, texts, strict=True)
        }
        return [found.get(index) or self._placed(prompt) for index, prompt in enumerate(prompts)]

    def _encode_placed(self, text: str) -> Encoded:
        found = self._placing_backend.encode(text, add_special_tokens=False)
        return Encoded(found.ids, found.type_ids, [False] * len(found.ids), found.offsets)

    @cached_property
    def _placing_backend(self) -> tokenizers.Tokenizer:
        """The same pipeline without post-processor, for some of these move the edges of words past their spaces."""
        from tokenizers import Tokenizer as Backend
        from tokenizers import processors

        copy = Backend.from_str(self._backend.to_str())
        copy.post_processor = processors.Sequence([])
        return copy

    def pieces(self, ids: Sequence[int]) -> list[str]:
        texts = [self._backend.id_to_token(token) for token in ids]
        return [text if text is not None else f"<{token}>" for token, text in zip(ids, texts, strict=True)]

    def token_id(self, text: str) -> int | None:
        return self._backend.token_to_id(text)

    def language_tokens(self) -> list[str]:
        return list(self.added_tokens)


def named_special_tokens(config: Mapping[str, Any], to_id: Any) -> SpecialTokens:
    """Read ``bos_token`` and its like from a tokenizer's configuration; unknown texts have no id.

    Args:
        config: content of the configuration files; a token is a text or a mapping with ``content``.
        to_id: gives the id of a token's text, ``None`` when the vocabulary lacks it.
    """
    texts: dict[str, str] = {}
    for name in ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"):
        value = config.get(name)
        text = value.get("content") if isinstance(value, Mapping) else value
        if isinstance(text, str):
            texts[name] = text
    ids = {name: number for name, text in texts.items() if (number := to_id(text)) is not None}
    return SpecialTokens(texts, ids)


def plausible_length(value: object) -> int | None:
    """``model_max_length`` where it means something: transformers writes 1e30 for "unknown"."""
    return int(value) if isinstance(value, int | float) and 0 < value < 10**8 else None


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """Lengths of a pair cut to ``room`` tokens together by taking from the longer text first."""
    excess = first + second - room
    if excess <= 0:
        return first, second
    shorter = min(first, second)
    if room - shorter >= shorter:
        return (room - shorter, shorter) if first > second else (shorter, room - shorter)
    return room - room // 2, room // 2
