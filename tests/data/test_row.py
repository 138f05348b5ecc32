from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmasos.data.row import (
    Label,
    Message,
    Messages,
    Origin,
    Parallel,
    Preference,
    PromptCompletion,
    Row,
    Sample,
    Text,
    UnpairedPreference,
)

texts = st.text(st.characters(codec="utf-8"), max_size=30)
maybe = st.none() | texts
messages = st.lists(
    st.builds(
        Message,
        st.sampled_from(["system", "user", "assistant", "tool"]),
        texts,
        st.none() | st.booleans(),
        st.dictionaries(st.sampled_from(["name", "tool_calls"]), texts),
    ),
    min_size=1,
    max_size=4,
).map(tuple)
samples: st.SearchStrategy[Sample] = st.one_of(
    st.builds(Text, texts),
    st.builds(Messages, messages, st.just(()) | st.just(({"name": "f"},))),
    st.builds(PromptCompletion, texts, texts, maybe),
    st.builds(Preference, messages, messages, messages),
    st.builds(UnpairedPreference, messages, messages, st.booleans()),
    st.builds(Label, texts, texts, maybe),
    st.builds(Parallel, texts, texts, maybe, maybe),
)
rows = st.builds(
    Row,
    texts,
    st.builds(Origin, texts, texts, st.integers(1, 10**9)),
    samples,
    st.dictionaries(texts, texts | st.integers(-(2**53), 2**53) | st.none(), max_size=3),
)


@given(rows)
def test_a_row_survives_the_disk(row: Row) -> None:
    line = row.to_bytes()
    assert line.count(b"\n") == 1
    assert Row.from_bytes(line) == row


@given(rows)
def test_texts_can_be_replaced_in_order(row: Row) -> None:
    placed = row.texts()
    new = [f"{number}:{text}" for number, (_, text) in enumerate(placed)]
    changed = row.with_texts(new)
    assert changed.texts() == [(place, text) for (place, _), text in zip(placed, new, strict=True)]
    assert changed.with_texts([text for _, text in placed]) == row


def test_text_joins_all_texts() -> None:
    row = Row("1", Origin("s", "f", 3), PromptCompletion("p", "c", "sys"))
    assert row.text() == "sys\np\nc"
    assert str(row.origin) == "f:3"
