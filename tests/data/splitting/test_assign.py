from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from llmasos.data.row import Label, Origin, Row, Text
from llmasos.data.splitting.assign import AssignConfig, _sortable
from llmasos.data.splitting.config import RandomSplit, RepeatMixture, ShareMixture, TimeSplit
from llmasos.data.step import Outcome
from llmasos.errors import InvalidRecipe


def row(number: int, *, source: str = "a", label: str = "x", **metadata: Any) -> Row:
    return Row(f"{source}/{number}", Origin(source, "f", number), Label(f"text {number}", label), metadata)


def assign(
    rows: Sequence[Row], folder: Path, *, shards: int = 1, into: tuple[str, ...] = (), **config: Any
) -> list[Outcome]:
    """Run all phases over rows that are dealt to shards in order."""
    sources = tuple(sorted({item.origin.source for item in rows}))
    settings_ = AssignConfig(seed=7, sources=sources, into=into or ("train",) * len(sources), **config)
    size = max(-(-len(rows) // shards), 1)
    parts = [rows[start : start + size] for start in range(0, size * shards, size)]
    folder.mkdir(parents=True, exist_ok=True)
    for shard, part in enumerate(parts):
        settings_.build().map_shard(part, shard, folder)
    settings_.build().conclude(shards, folder)
    return [outcome for shard, part in enumerate(parts) for outcome in settings_.build().apply(part, shard, folder)]


def splits(outcomes: Sequence[Outcome]) -> Counter[str]:
    return Counter(outcome.row.metadata["split"] for outcome in outcomes if outcome.rejection is None)


def test_shares_are_exact_and_shards_do_not_matter(tmp_path: Path) -> None:
    rows = [row(number) for number in range(1000)]
    split = RandomSplit(parts={"validation": 0.05, "test": 0.1})
    one = assign(rows, tmp_path / "1", split=split)
    many = assign(rows, tmp_path / "7", shards=7, split=split)
    assert one == many
    assert splits(one) == {"train": 850, "validation": 50, "test": 100}
    first = [outcome.row.metadata["split"] for outcome in one[:300]]
    assert len(set(first)) == 3, "the splits are chosen by chance, not by position"


def test_strata_keep_their_proportions(tmp_path: Path) -> None:
    rows = [row(number, label="rare" if number % 50 == 0 else "common") for number in range(1000)]
    outcomes = assign(rows, tmp_path, shards=3, split=RandomSplit(parts={"test": 0.1}, stratify_by="label"))
    test = [outcome.row for outcome in outcomes if outcome.row.metadata["split"] == "test"]
    assert Counter(item.sample.as_json()["label"] for item in test) == {"rare": 2, "common": 98}


def test_groups_stay_together(tmp_path: Path) -> None:
    rows = [row(number, author=f"author {number % 60}") for number in range(1200)]
    outcomes = assign(
        rows, tmp_path, shards=4, split=RandomSplit(parts={"test": 0.2, "validation": 0.1}, group_by="author")
    )
    of_author: dict[str, set[str]] = {}
    for outcome in outcomes:
        of_author.setdefault(outcome.row.metadata["author"], set()).add(outcome.row.metadata["split"])
    assert all(len(found) == 1 for found in of_author.values())
    counts = splits(outcomes)
    assert 200 <= counts["test"] <= 280
    assert 80 <= counts["validation"] <= 160


def test_time_puts_the_newest_last(tmp_path: Path) -> None:
    rows = [row(number, date=f"2026-01-{1 + number % 30:02d}T00:00:00") for number in range(300)]
    outcomes = assign(rows, tmp_path, shards=2, split=TimeSplit(parts={"validation": 0.1, "test": 0.1}, column="date"))
    latest = {
        name: max(o.row.metadata["date"] for o in outcomes if o.row.metadata["split"] == name)
        for name in splits(outcomes)
    }
    earliest = {
        name: min(o.row.metadata["date"] for o in outcomes if o.row.metadata["split"] == name) for name in latest
    }
    assert latest["train"] < earliest["validation"] <= latest["validation"] < earliest["test"]
    assert splits(outcomes) == {"train": 240, "validation": 30, "test": 30}


@pytest.mark.parametrize("value", [None, "yesterday", True])
def test_what_is_no_time(value: object, tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match=r"f:1: date = .* is no time"):
        assign([row(1, date=value)], tmp_path, split=TimeSplit(parts={"test": 0.5}, column="date"))


def test_a_key_that_rows_lack(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match="nothing named 'author'"):
        assign([row(1)], tmp_path, split=RandomSplit(parts={"test": 0.5}, group_by="author"))


@given(st.lists(st.floats(allow_nan=False), min_size=2))
def test_sortable_numbers_sort_as_floats(values: list[float]) -> None:
    assert [value + 0.0 for value in sorted(values, key=_sortable)] == sorted(value + 0.0 for value in values)


def test_repetition(tmp_path: Path) -> None:
    rows = [
        *(row(n) for n in range(100)),
        *(row(n, source="b") for n in range(40)),
        *(row(n, source="c") for n in range(10)),
    ]
    mix = RepeatMixture(weights={"a": 0.5, "b": 2.25, "c": 0})
    outcomes = assign(rows, tmp_path, shards=3, mix=mix)
    kept = Counter(o.row.origin.source for o in outcomes if o.rejection is None)
    assert kept == {"a": 50, "b": 90}
    assert Counter(o.rejection.reason for o in outcomes if o.rejection) == {"left_out_of_mixture": 60}
    assert len({o.row.id for o in outcomes}) == len(outcomes), "repeated rows have ids of their own"


def test_shares_of_sources(tmp_path: Path) -> None:
    rows = [*(row(n) for n in range(100)), *(row(n, source="b") for n in range(300))]
    outcomes = assign(rows, tmp_path / "1", mix=ShareMixture(weights={"a": 1, "b": 1}))
    assert Counter(o.row.origin.source for o in outcomes if o.rejection is None) == {"a": 100, "b": 100}
    outcomes = assign(rows, tmp_path / "2", mix=ShareMixture(weights={"a": 3, "b": 1}, rows=400))
    assert Counter(o.row.origin.source for o in outcomes if o.rejection is None) == {"a": 300, "b": 100}


def test_only_train_is_mixed_and_sources_may_be_a_split(tmp_path: Path) -> None:
    rows = [*(row(n) for n in range(100)), *(row(n, source="b") for n in range(50))]
    outcomes = assign(
        rows,
        tmp_path,
        into=("train", "test"),
        split=RandomSplit(parts={"validation": 0.2}),
        mix=RepeatMixture(weights={"a": 2, "b": 2}),
    )
    assert splits(outcomes) == {"train": 160, "validation": 20, "test": 50}


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(0, 40),
    shards=st.integers(1, 4),
    share=st.floats(0.01, 0.98),
    weight=st.floats(0, 3),
    stratify=st.booleans(),
)
def test_no_row_is_lost(
    count: int, shards: int, share: float, weight: float, stratify: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [row(number, label=str(number % 3)) for number in range(count)] + [row(1, source="b")]
    outcomes = assign(
        rows,
        tmp_path_factory.mktemp("assign"),
        shards=shards,
        split=RandomSplit(parts={"test": share}, stratify_by="label" if stratify else None),
        mix=RepeatMixture(weights={"a": weight}),
    )
    assert {outcome.row.id.partition("#")[0] for outcome in outcomes} == {item.id for item in rows}


@pytest.mark.parametrize("parts", [{"train": 0.1}, {"a b": 0.1}, {"a": 0.6, "b": 0.5}, {"a": 0}])
def test_shares_that_make_no_sense(parts: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        RandomSplit(parts=parts)


def test_text_rows_have_no_label(tmp_path: Path) -> None:
    text = Row("1", Origin("a", "f", 1), Text("t"))
    with pytest.raises(InvalidRecipe, match="nothing named 'label'"):
        assign([text], tmp_path, split=RandomSplit(parts={"test": 0.5}, stratify_by="label"))
