"""From token ids to text, one token at a time, never half a character.

What comes out over a whole stream is what the tokenizer's own ``decode`` gives for all tokens at once, with one
exception that is meant: where a SentencePiece model spells bytes that are no valid UTF-8, ``decode`` replaces every
byte of the run of byte tokens, also those of complete characters before the damage. A stream has shown these
characters already, and keeps them; each byte that belongs to none becomes U+FFFD, as there.

Three kinds of tokenizers are told apart by their decoder:

- byte-level BPE: each token is a piece of a byte string, decoded by an incremental UTF-8 decoder;
- SentencePiece with byte fallback: tokens are text, except runs of ``<0xNN>``;
- anything else (WordPiece, Metaspace, Marian's Python tokenizer, ...): the text that a token adds to a short window
  of tokens before it. (:class:`tokenizers.decoders.DecodeStream` does this for all kinds, but it raises on byte
  sequences that never become valid, and what it still holds at the end cannot be had.)
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from typing import Any, Protocol

REPLACEMENT = "\ufffd"
_CONTEXT = 8  # tokens of a prompt that decide how the text goes on: spaces, and the bytes of one character


class TextStream(Protocol):
    """Text of one sequence of tokens in the making."""

    def push(self, token: int) -> str:
        """The text that is certain now that ``token`` has come; often the token's text, sometimes nothing."""

    def finish(self) -> str:
        """The rest: U+FFFD for a character that was never completed."""


class TextDecoder(Protocol):
    """What is known of a tokenizer; shared by all streams of a model."""

    special: frozenset[int]
    """Ids of the special tokens."""

    def bytes_of(self, token: int) -> bytes | None:
        """What a token adds to a text, in UTF-8; ``None`` if that depends on its neighbours."""

    def stream(self, *, skip_special_tokens: bool = True, context: Sequence[int] = ()) -> TextStream:
        """Start a stream. After ``context`` (the prompt), the text is what the tokens add to the prompt's text."""


def text_decoder(tokenizer: Any) -> TextDecoder:
    """The decoder for a :class:`tokenizers.Tokenizer` or a transformers tokenizer, fast or slow."""
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "id_to_token"):
        return WindowDecoder(tokenizer.decode, frozenset(tokenizer.all_special_ids))
    special = frozenset(number for number, token in backend.get_added_tokens_decoder().items() if token.special)
    specification = json.loads(backend.decoder.__getstate__()) if backend.decoder is not None else {}
    if specification.get("type") == "ByteLevel":
        return ByteLevelDecoder(backend, special)
    strip = _byte_fallback_strip(specification)
    if strip is not None:
        return ByteFallbackDecoder(backend, special, strip)
    return WindowDecoder(backend.decode, special)


def _byte_fallback_strip(specification: dict[str, Any]) -> int | None:
    """Leading spaces that a SentencePiece decoder with byte fallback strips; ``None`` if it is not of that kind."""
    if specification.get("type") != "Sequence":
        return None
    steps = specification["decoders"]
    kinds = [step["type"] for step in steps]
    if kinds[:3] != ["Replace", "ByteFallback", "Fuse"] or kinds[3:] not in ([], ["Strip"]):
        return None
    if steps[0]["pattern"] != {"String": "▁"} or steps[0]["content"] != " ":
        return None
    if len(steps) == 3:
        return 0
    strip = steps[3]
    return int(strip["start"]) if strip["content"] == " " and strip["stop"] == 0 else None


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins for the bytes: visible Latin-1 stands for itself, the rest follows from U+0100."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + index): byte for index, byte in enumerate(hidden)}


_ALPHABET = _byte_alphabet()


class ByteLevelDecoder:
    """Byte-level BPE: GPT-2, Llama 3, Qwen, SmolLM, ..."""

    def __init__(self, tokenizer: Any, special: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self.special = special
        self._known: dict[int, bytes] = {}

    def bytes_of(self, token: int) -> bytes:
        """The bytes of a token; none of an id that the vocabulary lacks (padding of the embedding matrix)."""
        found = self._known.get(token)
        if found is None:
            text = self._tokenizer.id_to_token(token) or ""
            if all(character in _ALPHABET for character in text):
                found = bytes(_ALPHABET[character] for character in text)
            else:
                found = text.encode()
            self._known[token] = found
        return found

    def stream(self, *, skip_special_tokens: bool = True, context: Sequence[int] = ()) -> TextStream:
        """See :class:`TextDecoder`."""
        started = _ByteLevelStream(self, self.special if skip_special_tokens else frozenset())
        for token in context[-_CONTEXT:]:
            started.push(token)
        return started


class _ByteLevelStream:
    __slots__ = ("_decode", "_decoder", "_skipped")

    def __init__(self, decoder: ByteLevelDecoder, skipped: frozenset[int]) -> None:
        self._decoder = decoder
        self._skipped = skipped
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def push(self, token: int) -> str:
        return "" if token in self._skipped else self._decode(self._decoder.bytes_of(token))

    def finish(self) -> str:
        return self._decode(b"", True)


class ByteFallbackDecoder:
    """SentencePiece with byte fallback: Llama 2, Mistral, Gemma, ..."""

    def __init__(self, tokenizer: Any, special: frozenset[int], strip: int) -> None:
        self._tokenizer = tokenizer
        self.special = special
        self.strip = strip
        self._known: dict[int, str | int] = {}

    def piece_of(self, token: int) -> str | int:
        """The text of a token, or the byte that it stands for."""
        found = self._known.get(token)
        if found is None:
            text = self._tokenizer.id_to_token(token) or ""
            if len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
                try:
                    found = int(text[3:5], 16)
                except ValueError:
                    found = text
            else:
                found = text.replace("▁", " ")
            self._known[token] = found
        return found

    def bytes_of(self, token: int) -> bytes:
        """See :class:`TextDecoder`."""
        piece = self.piece_of(token)
        return bytes([piece]) if isinstance(piece, int) else piece.encode()

    def stream(self, *, skip_special_tokens: bool = True, context: Sequence[int] = ()) -> TextStream:
        """See :class:`TextDecoder`."""
        skipped = self.special if skip_special_tokens else frozenset()
        begun = any(token not in skipped for token in context)
        started = _ByteFallbackStream(self, skipped, 0 if begun else self.strip)
        for token in context[-_CONTEXT:]:
            started.push(token)
        return started


class _ByteFallbackStream:
    __slots__ = ("_decoder", "_held", "_skipped", "_strip")

    def __init__(self, decoder: ByteFallbackDecoder, skipped: frozenset[int], strip: int) -> None:
        self._decoder = decoder
        self._skipped = skipped
        self._strip = strip  # leading spaces of the text still to be dropped
        self._held = b""  # the beginning of a character

    def push(self, token: int) -> str:
        if token in self._skipped:
            return ""
        piece = self._decoder.piece_of(token)
        if isinstance(piece, int):
            text = self._push_byte(piece)
        elif not piece:
            return ""
        else:
            text = REPLACEMENT * len(self._held) + piece
            self._held = b""
        if self._strip and text:
            shorter = text.lstrip(" ")
            dropped = min(self._strip, len(text) - len(shorter))
            # Another character than a space ends the stripping; a text of spaces alone leaves the rest to do.
            self._strip = self._strip - dropped if not shorter else 0
            text = text[dropped:]
        return text

    def _push_byte(self, byte: int) -> str:
        held = self._held + bytes([byte])
        try:
            text = held.decode()
        except UnicodeDecodeError as error:
            if error.reason == "unexpected end of data":
                self._held = held
                return ""
            lost = REPLACEMENT * len(self._held)
            if self._held:
                self._held = b""
                return lost + self._push_byte(byte)
            return REPLACEMENT
        self._held = b""
        return text

    def finish(self) -> str:
        lost, self._held = REPLACEMENT * len(self._held), b""
        return lost


class _Decode(Protocol):
    def __call__(self, ids: list[int], *, skip_special_tokens: bool) -> str: ...


class WindowDecoder:
    """Any tokenizer, through its own ``decode`` on a window of the latest tokens."""

    def __init__(self, decode: _Decode, special: frozenset[int]) -> None:
        self.decode = decode
        self.special = special

    def bytes_of(self, token: int) -> None:
        """Not known: a decoder of this kind looks at neighbours."""

    def stream(self, *, skip_special_tokens: bool = True, context: Sequence[int] = ()) -> TextStream:
        """See :class:`TextDecoder`."""
        return _WindowStream(self, skip_special_tokens, context[-_CONTEXT:])


class _WindowStream:
    __slots__ = ("_before", "_decoder", "_emitted", "_skip", "_window")

    def __init__(self, decoder: WindowDecoder, skip: bool, context: Sequence[int]) -> None:
        self._decoder = decoder
        self._skip = skip
        self._window = [token for token in context if not (skip and token in decoder.special)]
        self._before = len(self._window)  # tokens of the window whose text is out
        self._emitted = self._text() if self._window else ""

    def _text(self) -> str:
        return self._decoder.decode(self._window, skip_special_tokens=self._skip)

    def push(self, token: int) -> str:
        if self._skip and token in self._decoder.special:
            return ""
        self._window.append(token)
        text = self._text()
        if len(text) <= len(self._emitted) or text.endswith(REPLACEMENT):
            return ""
        added = text[len(self._emitted) :]
        # The tokens of this piece stay as the window's beginning: the next token may need a neighbour to its left.
        del self._window[: self._before]
        self._before = len(self._window)
        self._emitted = self._text()
        return added

    def finish(self) -> str:
        added = self._text()[len(self._emitted) :] if self._window else ""
        self._window, self._before, self._emitted = [], 0, ""
        return added
