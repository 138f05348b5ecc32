"""Stop texts: found wherever the pieces are cut, nothing shown too early, nothing held too long."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos.engine.stop_strings import StopAutomaton, StopScanner

small = st.text(alphabet="ab你", max_size=4)


def first_match(text: str, stops: list[str]) -> tuple[int, str] | None:
    """(end, stop) of the match that is complete first; the longest of those."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return end, max(complete, key=len)
    return None


@settings(max_examples=300, deadline=None)
@given(st.lists(small, max_size=12), st.lists(small.filter(bool), min_size=1, max_size=5), st.booleans())
def test_scanner_against_the_definition(pieces: list[str], stops: list[str], include: bool) -> None:
    scanner = StopScanner(StopAutomaton(stops), include=include)
    text, shown = "", ""
    for piece in pieces:
        text += piece
        shown += scanner.push(piece)
        match = first_match(text, stops)
        if match:
            end, stop = match
            assert scanner.found == stop
            assert shown == text[: end if include else end - len(stop)]
        else:
            assert scanner.found is None
            held = text.removeprefix(shown)
            assert shown + held == text
            # Exactly what a stop text could still claim is held back: no more, no less.
            claims = [n for stop in stops for n in range(len(stop)) if text.endswith(stop[:n])]
            assert len(held) == max(claims, default=0)
    rest = scanner.finish()
    if scanner.found is None:
        assert shown + rest == text
    else:
        assert rest == ""


@pytest.mark.parametrize(
    ("stops", "text", "shown", "found"),
    [
        (["abcd", "bc"], "xabcd", "xa", "bc"),
        (["bc", "abc"], "xabc", "x", "abc"),
        (["\n\n", "###"], "one\n##\n\ntwo", "one\n##", "\n\n"),
        (["aab"], "aaab", "a", "aab"),
    ],
)
def test_the_match_that_is_complete_first_wins(stops: list[str], text: str, shown: str, found: str) -> None:
    for size in (1, 2, len(text)):
        scanner = StopScanner(StopAutomaton(stops))
        out = "".join(scanner.push(text[start : start + size]) for start in range(0, len(text), size))
        assert (out + scanner.finish(), scanner.found) == (shown, found)
