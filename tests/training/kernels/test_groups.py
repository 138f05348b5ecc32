"""Documents in groups: each in one, whole, and with little padding."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from llmasos.training.kernels.groups import groups_of


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_every_token_is_in_one_group_at_its_place(lengths: list[int]) -> None:
    row = torch.arange(sum(lengths))
    back = torch.full_like(row, -1)
    seen = 0
    for group in groups_of(tuple(lengths), row.device):
        values = group.take(row)
        assert values.shape == (group.documents, group.length)
        real = torch.ones_like(values, dtype=torch.bool) if group.real is None else group.real
        seen += int(real.sum())
        assert bool((values.diff(dim=1)[real[:, 1:]] == 1).all()), "a document is not cut"
        group.put(values, back)
        longest, shortest = int(real.sum(1).max()), int(real.sum(1).min())
        assert group.length - longest < 16
        assert longest - shortest <= max(longest // 4, 12)
    assert seen == sum(lengths)
    assert torch.equal(back, row)


def test_short_documents_stand_together_and_long_ones_alone() -> None:
    groups = groups_of((20, 700, 18, 300, 11, 300), torch.device("cpu"))
    assert sorted((group.documents, group.length) for group in groups) == [(1, 300), (1, 300), (1, 700), (3, 32)]
