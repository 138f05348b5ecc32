from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_models import chat_model
from llmasos.data.rendering import RejectedRow, Renderer, RenderingAccount, RenderingOptions
from llmasos.data.rendering.options import Drop, Overlong, Refuse, Split, Truncate
from llmasos.data.rendering.overlong import fit
from llmasos.data.rendering.parts import Encoded, LearnedText
from llmasos.data.row import Message, Messages, Origin, Preference, Row
from llmasos.data.step import Rejection
from llmasos.errors import ContextLengthExceeded, InvalidRequest

LONG = Messages((Message("user", "What is two plus two? " * 3), Message("assistant", "It is four, of course. " * 3)))


def rendered(
    overlong: Overlong, limit: int | None, sample: Messages | Preference = LONG
) -> tuple[list[object], RenderingAccount]:
    model = chat_model("llama3")
    account = RenderingAccount()
    renderer = Renderer(model.tokenizer, model.template, RenderingOptions(overlong=overlong, max_length=limit))
    return list(renderer.render([Row("0", Origin("s", "rows.jsonl", 3), sample)], account)), account


def whole() -> tuple[list[int], list[bool]]:
    (row,), _ = rendered(Drop(), None)
    text = row.parts["text"]  # type: ignore[attr-defined]
    return text.ids.tolist(), text.trained.tolist()


def test_drop() -> None:
    (item,), account = rendered(Drop(), 20)
    assert isinstance(item, RejectedRow)
    assert item.rejection == Rejection("too_long", f"{len(whole()[0])} tokens, at most 20")
    assert account.rejected == {"too_long": 1}
    assert "too long" in account.notes()[0]


def test_error_names_the_row() -> None:
    with pytest.raises(ContextLengthExceeded, match=r"rows.jsonl:3 has \d+ tokens; allowed are 20"):
        rendered(Refuse(), 20)


def test_cut_at_the_end() -> None:
    ids, mask = whole()
    limit = len(ids) - 5
    (row,), account = rendered(Truncate(side="end"), limit)
    text = row.parts["text"]  # type: ignore[attr-defined]
    assert text.ids.tolist() == ids[:limit]
    assert text.trained.tolist() == mask[:limit]
    assert (account.truncated, account.truncated_tokens, account.answers_cut) == (1, 5, 1)
    assert (account.end_trained, account.ends_missing) == (False, 1)


def test_cut_at_the_start_keeps_the_start_token() -> None:
    ids, mask = whole()
    limit = len(ids) - 5
    (row,), account = rendered(Truncate(side="start"), limit)
    text = row.parts["text"]  # type: ignore[attr-defined]
    assert text.ids.tolist() == [ids[0], *ids[6:]]
    assert text.trained.tolist() == [False, *mask[6:]]
    assert (account.truncated, account.answers_cut) == (1, 0)
    assert account.end_trained


def test_cutting_never_takes_everything_silently() -> None:
    (item,), account = rendered(Truncate(side="end"), 15)
    assert isinstance(item, RejectedRow)
    assert item.rejection.reason == "answer_cut_away"
    assert account.rejected == {"answer_cut_away": 1}
    assert account.truncated == 0


def test_split_learns_every_token_once() -> None:
    ids, mask = whole()
    rows, account = rendered(Split(), 20)
    assert account.trained == sum(mask)
    assert account.divided == 1
    assert account.pieces == len(rows)
    assert account.end_trained
    targets = [
        token
        for row in rows
        for token, flag in zip(row.parts["text"].ids, row.parts["text"].trained, strict=True)  # type: ignore[attr-defined]
        if flag
    ]
    assert targets == [token for token, flag in zip(ids, mask, strict=True) if flag]


def test_a_pair_of_answers_cannot_be_divided() -> None:
    pair = Preference(LONG.messages[:1], LONG.messages[1:], (Message("assistant", "No."),))
    (item,), account = rendered(Split(), 40, pair)
    assert isinstance(item, RejectedRow)
    assert "cannot be divided" in item.rejection.detail
    assert account.rejected == {"too_long": 1}


def test_an_overlap_as_long_as_the_limit_is_refused() -> None:
    model = chat_model("llama3")
    with pytest.raises(InvalidRequest, match="overlap"):
        Renderer(model.tokenizer, model.template, RenderingOptions(max_length=8, overlong=Split(overlap=8)))


flags = st.lists(st.booleans(), min_size=1, max_size=60)


def encoded(mask: list[bool]) -> Encoded:
    trained = np.array(mask)
    trained[0] = False
    learned = [LearnedText(0, len(mask), "<end>", True)] if trained.any() else []
    return Encoded(np.arange(1, len(mask) + 1, dtype=np.int32), trained, learned, divisible=True)


@given(mask=flags, limit=st.integers(2, 30), overlap=st.integers(1, 5))
def test_pieces_lose_and_double_nothing(mask: list[bool], limit: int, overlap: int) -> None:
    overlap = min(overlap, limit - 1)
    part = encoded(mask)
    account = RenderingAccount()
    found = fit({"text": part}, Split(overlap=overlap), limit, account)
    assert isinstance(found, list)
    pieces = [item["text"] for item in found]
    assert all(len(piece) <= limit for piece in pieces)
    targets = [int(token) for piece in pieces for token in piece.ids[piece.trained]]
    assert targets == part.ids[part.trained].tolist()
    assert not any(piece.trained[0] for piece in pieces)
    assert all((np.diff(piece.ids) == 1).all() for piece in pieces), "a piece is a stretch of the text"


@given(mask=flags, limit=st.integers(2, 30), side=st.sampled_from(["end", "start"]), start=st.booleans())
def test_cut_sequences_are_counted(mask: list[bool], limit: int, side: str, start: bool) -> None:
    part = encoded(mask)
    account = RenderingAccount()
    policy = Truncate(side=side)  # type: ignore[arg-type]
    found = fit({"text": part}, policy, limit, account, start_token=1 if start else None)
    if isinstance(found, Rejection):
        assert len(mask) > limit
        return
    (piece,) = [item["text"] for item in found]
    assert len(piece) == min(len(mask), limit)
    assert account.truncated_tokens == len(mask) - len(piece)
    assert account.answers_cut == (int(piece.trained.sum()) < int(part.trained.sum()))
    if side == "end":
        assert piece.ids.tolist() == part.ids[:limit].tolist()
    else:
        assert piece.ids[-1] == part.ids[-1]
        assert not piece.trained[0]
        assert not start or piece.ids[0] == 1


def test_counts_of_several_workers_are_added_and_kept_as_json() -> None:
    accounts = [rendered(policy, 20)[1] for policy in (Drop(), Split(), Truncate(side="start"))]
    total = RenderingAccount()
    for account in accounts:
        total.add(RenderingAccount.from_json(json.loads(json.dumps(account.as_json()))))
    assert total.rows == 3
    assert total.samples == sum(account.samples for account in accounts)
    assert total.tokens == sum(account.tokens for account in accounts)
    assert total.rejected == {"too_long": 1}
    assert 0 < total.trained_share < 1
