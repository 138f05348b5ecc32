"""Streams of text against decoding everything at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos.engine.detokenizer import Detokenizer, text_decoder
from llmasos.engine.text_decoder import _ALPHABET as ALPHABET
from llmasos.engine.text_decoder import ByteFallbackDecoder, ByteLevelDecoder, WindowDecoder

from .conftest import CORPUS

KINDS = {
    "byte-level": ByteLevelDecoder,
    "byte-fallback": ByteFallbackDecoder,
    "byte-fallback-strip": ByteFallbackDecoder,
    "word-piece": WindowDecoder,
    "metaspace": WindowDecoder,
    "marian": WindowDecoder,
}
TEXTS = [*CORPUS[:5], " leading", "trailing ", "\n\n", "é" * 5, "👩‍👩‍👧" * 3, "𝔘𝔫𝔦", "a\u0301", "�"]


def size_of(tokenizer: Any) -> int:
    return len(tokenizer) if hasattr(tokenizer, "all_special_ids") else tokenizer.get_vocab_size()


def encode(tokenizer: Any, text: str) -> list[int]:
    found = tokenizer.encode(text)
    return list(getattr(found, "ids", found))


def stream(tokenizer: Any, ids: list[int], **options: Any) -> tuple[list[str], str]:
    detokenizer = Detokenizer(text_decoder(tokenizer), **options)
    return [detokenizer.push(token) for token in ids], detokenizer.finish()


def spelled_bytes_are_valid(tokenizer: Any, ids: list[int], skip: bool) -> bool:
    """Whether every run of byte tokens is UTF-8: where it is not, a stream keeps more than ``decode`` does."""
    decoder = text_decoder(tokenizer)
    if not isinstance(decoder, ByteFallbackDecoder):
        return True
    runs = [b""]
    for token in ids:
        if skip and token in decoder.special:
            continue
        piece = decoder.piece_of(token)
        if isinstance(piece, int):
            runs[-1] += bytes([piece])
        else:
            runs.append(b"")
    try:
        [run.decode() for run in runs]
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_are_recognised(kind: str, tokenizers_by_kind: dict[str, Any]) -> None:
    assert type(text_decoder(tokenizers_by_kind[kind])) is KINDS[kind]


def test_transformers_tokenizers_are_unwrapped(byte_level: Any) -> None:
    from transformers import PreTrainedTokenizerFast

    assert type(text_decoder(PreTrainedTokenizerFast(tokenizer_object=byte_level))) is ByteLevelDecoder


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_random_tokens_give_what_decode_gives(
    kind: str, tokenizers_by_kind: dict[str, Any], data: st.DataObject
) -> None:
    tokenizer = tokenizers_by_kind[kind]
    size = size_of(tokenizer)
    # The low ids are where special and byte tokens are; a few ids lie beyond the vocabulary where that is possible.
    beyond = 0 if kind == "marian" else 3
    anything = st.integers(0, size - 1 + beyond) | st.integers(0, min(size - 1, 262))
    ids = data.draw(st.lists(anything, max_size=40))
    skip = data.draw(st.booleans())
    pieces, rest = stream(tokenizer, ids, skip_special_tokens=skip)
    text = "".join(pieces) + rest
    if spelled_bytes_are_valid(tokenizer, ids, skip):
        assert text == tokenizer.decode(ids, skip_special_tokens=skip)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_text_comes_through_without_broken_characters(kind: str, text: str, tokenizers_by_kind: dict[str, Any]) -> None:
    tokenizer = tokenizers_by_kind[kind]
    ids = encode(tokenizer, text)
    pieces, rest = stream(tokenizer, ids)
    whole = tokenizer.decode(ids, skip_special_tokens=True)
    assert "".join(pieces) + rest == whole
    if "�" not in whole:
        assert not any("�" in piece for piece in pieces)


@pytest.mark.parametrize("kind", ["byte-level", "byte-fallback"])
def test_characters_are_shown_as_soon_as_they_are_complete(kind: str, tokenizers_by_kind: dict[str, Any]) -> None:
    tokenizer = tokenizers_by_kind[kind]
    names = tokenizer.get_vocab()
    if kind == "byte-level":
        alphabet = {byte: name for name, byte in ALPHABET.items()}
        ids = [names[alphabet[byte]] for byte in "ж你".encode()]
    else:
        ids = [names[f"<0x{byte:02X}>"] for byte in "ж你".encode()]
    assert stream(tokenizer, ids) == (["", "ж", "", "", "你"], "")
    assert stream(tokenizer, ids[:4])[1] == ("�" if kind == "byte-level" else "��")


def test_damaged_byte_tokens_keep_complete_characters(tokenizers_by_kind: dict[str, Any]) -> None:
    tokenizer = tokenizers_by_kind["byte-fallback"]
    names = tokenizer.get_vocab()

    def of(data: bytes) -> list[int]:
        return [names[f"<0x{byte:02X}>"] for byte in data]

    for data, expected in {
        "你".encode() + b"\xff": "你�",
        b"\xe4\xb8" + "ж".encode(): "��ж",
        b"\xe4\xe4\xb8\xad\x80": "�中�",
        b"\xed\xa0\x80": "���",
        b"\xf0\x9f\x91": "���",
    }.items():
        pieces, rest = stream(tokenizer, of(data))
        assert "".join(pieces) + rest == expected
    pieces, rest = stream(tokenizer, [*of(b"\xe4\xb8"), names["a"]])
    assert pieces == ["", "", "��a"]


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_prompt_the_text_continues_it(kind: str, tokenizers_by_kind: dict[str, Any]) -> None:
    tokenizer = tokenizers_by_kind[kind]
    ids = encode(tokenizer, "The quick brown fox jumps over the lazy dog")
    ids = [token for token in ids if token not in text_decoder(tokenizer).special]
    whole = tokenizer.decode(ids)
    for cut in range(1, len(ids)):
        pieces, rest = stream(tokenizer, ids[cut:], context=ids[:cut])
        assert tokenizer.decode(ids[:cut]) + "".join(pieces) + rest == whole


def test_a_prompt_of_special_tokens_has_no_text_to_continue(tokenizers_by_kind: dict[str, Any]) -> None:
    tokenizer = tokenizers_by_kind["byte-fallback-strip"]
    begin, word = tokenizer.token_to_id("<s>"), encode(tokenizer, "fox")
    assert tokenizer.decode(word) == "fox"
    for context, expected in (
        ([begin], "fox"),
        ([begin] * 20, "fox"),
        ([*encode(tokenizer, "a"), *[begin] * 20], " fox"),
    ):
        pieces, rest = stream(tokenizer, word, context=context)
        assert "".join(pieces) + rest == expected


def test_a_prompt_that_ends_inside_a_character(byte_level: Any) -> None:
    ids = byte_level.encode("ж你😀").ids
    for cut in range(1, len(ids)):
        pieces, rest = stream(byte_level, ids[cut:], context=ids[:cut])
        assert "ж你😀".endswith("".join(pieces) + rest)


def test_stop_texts_end_the_output_across_tokens(byte_level: Any) -> None:
    ids = byte_level.encode("The quick brown fox").ids
    for stop in ("quick", "e q", "k b", "fox", "The"):
        detokenizer = Detokenizer(text_decoder(byte_level), stops=[stop, "never"])
        shown = ""
        for token in ids:
            shown += detokenizer.push(token)
            if detokenizer.stopped:
                break
        assert detokenizer.stopped == stop
        assert shown + detokenizer.finish() == "The quick brown fox".split(stop)[0]
        used = ids.index(token) + 1
        assert stop in byte_level.decode(ids[:used])
        assert stop not in byte_level.decode(ids[: used - 1])


def test_text_held_for_a_stop_that_never_comes_is_given_at_the_end(byte_level: Any) -> None:
    detokenizer = Detokenizer(text_decoder(byte_level), stops=["fox!!"])
    shown = "".join(detokenizer.push(token) for token in byte_level.encode("brown fox").ids)
    assert shown == "brown "
    assert detokenizer.finish() == "fox"
    assert detokenizer.stopped is None
