from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from llmasos.modeling.detokenizer import IncrementalDetokenizer, StopMatcher

TEXTS = ["plain words, and more", "你好，世界。", "🎉🎊 café ☕", "a\u200db \n\n\t c", "Привет 👩\u200d👩\u200d👧 мир"]


@pytest.fixture(params=["llama", "t5"])
def backend(request: pytest.FixtureRequest, tiny: Callable[[str], Path]) -> Tokenizer:
    return Tokenizer.from_file(str(tiny(request.param) / "tokenizer.json"))


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_make_up_the_text_and_no_piece_is_broken(backend: Tokenizer, text: str) -> None:
    ids = backend.encode(text, add_special_tokens=False).ids
    whole = backend.decode(ids)
    detokenizer = IncrementalDetokenizer(backend.decode)
    pieces = [detokenizer.push([token]) for token in ids] + [detokenizer.finish()]
    assert "".join(pieces) == whole
    assert not any("\ufffd" in piece for piece in pieces)


def test_several_tokens_at_once_are_the_same(backend: Tokenizer) -> None:
    ids = backend.encode("a 你 b 🎉 c", add_special_tokens=False).ids
    detokenizer = IncrementalDetokenizer(backend.decode)
    text = "".join(detokenizer.push(ids[start : start + 3]) for start in range(0, len(ids), 3)) + detokenizer.finish()
    assert text == backend.decode(ids)


def test_a_character_cut_off_at_the_end_is_marked_once(tiny: Callable[[str], Path]) -> None:
    backend = Tokenizer.from_file(str(tiny("llama") / "tokenizer.json"))
    ids = backend.encode("ok 🦊", add_special_tokens=False).ids
    detokenizer = IncrementalDetokenizer(backend.decode)
    streamed = "".join(detokenizer.push([token]) for token in ids[:-1])
    assert "\ufffd" not in streamed
    assert streamed + detokenizer.finish() == backend.decode(ids[:-1])


def test_bytes_that_never_become_a_character_are_let_go(tiny: Callable[[str], Path]) -> None:
    backend = Tokenizer.from_file(str(tiny("llama") / "tokenizer.json"))
    lead = backend.encode("é", add_special_tokens=False).ids
    if len(lead) == 1:  # merged: take a character that is not in the corpus
        lead = backend.encode("\u0b95", add_special_tokens=False).ids
    detokenizer = IncrementalDetokenizer(backend.decode)
    pieces = [detokenizer.push([lead[0]]) for _ in range(30)]
    assert sum(len(piece) for piece in pieces) >= 20


def test_the_prompt_gives_the_first_token_its_space(tiny: Callable[[str], Path]) -> None:
    backend = Tokenizer.from_file(str(tiny("t5") / "tokenizer.json"))
    prompt = backend.encode("quick brown", add_special_tokens=False).ids
    following = backend.encode("fox", add_special_tokens=False).ids
    assert IncrementalDetokenizer(backend.decode, prompt).push(following).startswith(" f")
    assert IncrementalDetokenizer(backend.decode).push(following).startswith("f")


def first_stop(text: str, stops: list[str]) -> tuple[str, str | None]:
    """The definition: the earliest stop text; of two at one place the longer."""
    places = [(text.find(stop), -len(stop), stop) for stop in stops if stop in text]
    if not places:
        return text, None
    place, _, stop = min(places)
    return text[:place], stop


@settings(max_examples=300, deadline=None)
@given(
    pieces=st.lists(st.text("ab<|>", max_size=4), max_size=12),
    stops=st.lists(st.text("ab<|>", min_size=1, max_size=4), max_size=3),
)
def test_stop_texts_are_found_across_pieces(pieces: list[str], stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    shown, met = "", None
    for piece in pieces:
        text, met = matcher.push(piece)
        shown += text
        if met is not None:
            break
    else:
        shown += matcher.finish()
    text, stop = first_stop("".join(pieces), stops)
    # A shorter stop text that is complete ends the output before a longer one that begins there can be.
    if met == stop:
        assert shown == text
    else:
        assert met is not None
        assert stop is not None
        assert stop.startswith(met) or shown == first_stop("".join(pieces), [met])[0]


def test_only_what_may_be_a_stop_text_is_held_back() -> None:
    matcher = StopMatcher(["</answer>"])
    assert matcher.push("yes</ans") == ("yes", None)
    assert matcher.push("w") == ("", None)
    assert matcher.push("orld") == ("</answorld", None)
    assert matcher.push("!</answer> rest") == ("!", "</answer>")
