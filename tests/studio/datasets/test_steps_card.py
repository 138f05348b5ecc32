"""Which account belongs to which step of a recipe."""

from __future__ import annotations

from llmasos.data.pipeline.account import StepAccount
from llmasos.studio.datasets.steps_card import _matched


def test_accounts_are_matched_in_order_past_steps_that_nobody_wrote() -> None:
    names = ["read", "clean", "complete", "exact", "clean", "complete", "split_and_mix"]
    accounts = [StepAccount(name, rows_in=number) for number, name in enumerate(names)]
    steps = [{"step": "clean"}, {"step": "exact"}, {"step": "clean"}, {"step": "other"}, "broken"]
    assert [account and account.rows_in for account in _matched(steps, accounts)] == [1, 3, 4, None, None]
    assert _matched(steps, ()) == [None] * 5
