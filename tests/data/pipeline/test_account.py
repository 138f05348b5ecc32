"""The sum always adds up, whatever the rows and steps."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmasos.data.pipeline.account import Examples, StepAccount, merge_accounts, row_key
from llmasos.data.pipeline.shard import read_rows, write_json
from llmasos.data.pipeline.stage import RowStage
from llmasos.data.pipeline.stages import sections
from llmasos.data.row import Row
from llmasos.data.sources.config import FileSource
from llmasos.data.sources.planning import make_plan
from llmasos.data.step import Counts, FilterConfig, Rejection, RowTransformConfig, StepConfig, TransformConfig


class Shout(TransformConfig):
    """Make letters large."""

    step: Literal["shout"] = "shout"

    def build(self) -> Shout:  # type: ignore[override]
        return self

    def __call__(self, text: str) -> tuple[str, Counts]:
        changed = sum(character.islower() for character in text)
        return text.upper(), {"letters": changed} if changed else {}


class Blank(TransformConfig):
    """Take everything out of texts that begin with a letter."""

    step: Literal["blank"] = "blank"

    def build(self) -> Blank:  # type: ignore[override]
        return self

    def __call__(self, text: str) -> tuple[str, Counts]:
        return ("", {"blanked": 1}) if text[:1].isalpha() else (text, {})


class Short(FilterConfig):
    """Reject long texts."""

    step: Literal["short"] = "short"
    most: int = 5

    def build(self) -> Short:  # type: ignore[override]
        return self

    def __call__(self, row: Row) -> Rejection | None:
        length = len(row.text())
        return Rejection("too_long", f"{length} characters") if length > self.most else None


class ShortInBatches(FilterConfig):
    """The same, many rows at once."""

    step: Literal["short_in_batches"] = "short_in_batches"
    most: int = 7
    batch_size: int = 3

    def build(self) -> ShortInBatches:  # type: ignore[override]
        return self

    def judge(self, rows: list[Row]) -> list[Rejection | None]:
        return [Rejection("too_long") if len(row.text()) > self.most else None for row in rows]


class Annotate(RowTransformConfig):
    """Note the length."""

    step: Literal["annotate"] = "annotate"

    def build(self) -> Annotate:  # type: ignore[override]
        return self

    def transform_row(self, row: Row) -> tuple[Row, Counts]:
        return row.with_metadata(length=len(row.text())), {"noted": 1}


lines = st.lists(
    st.one_of(
        st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=12).map(
            lambda text: json.dumps({"text": text})
        ),
        st.sampled_from(["{", "[1]", '{"other": 1}', "", '{"text": null}']),
    ),
    max_size=40,
)
steps = st.lists(st.sampled_from([Shout(), Blank(), Short(), ShortInBatches(), Annotate(), Short(most=2)]), max_size=5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=lines, chosen=steps, shard_bytes=st.integers(20, 400))
def test_rows_in_are_rows_out_and_rejected(
    lines: list[str], chosen: list[StepConfig], shard_bytes: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("account")
    (folder / "a.jsonl").write_text("\n".join(['{"text": "first"}', *lines]), encoding="utf-8")
    plan = make_plan([FileSource(path="a.jsonl", layout={"kind": "text"})], folder, shard_bytes=shard_bytes)  # type: ignore[arg-type]
    write_json(folder / "plan.json", plan.model_dump(mode="json"))
    stage = RowStage(folder / "stage", folder / "plan.json", steps=sections(chosen, None, None)[0].steps)
    for shard in range(len(plan.shards)):
        stage.run_shard(shard)
    accounts = merge_accounts(stage.accounts(len(plan.shards)))
    expected = 1 + sum(bool(line.strip()) for line in lines)
    assert accounts[0].rows_in == expected
    for before, after in pairwise(accounts):
        assert before.rows_out == after.rows_in
    kept = [
        row for shard in range(len(plan.shards)) for row in read_rows(folder / "stage" / "rows" / f"{shard:05d}.jsonl")
    ]
    rejected = [
        json.loads(line)
        for path in sorted((folder / "stage" / "rejected").iterdir())
        for line in path.read_bytes().splitlines()  # of text, it would cut at every separator that Unicode knows
    ]
    assert len(kept) + len(rejected) == expected
    assert len({row.id for row in kept} | {item["id"] for item in rejected}) == expected
    assert len(rejected) == sum(account.rows_rejected for account in accounts)
    assert all(item["reason"] and item["step"] and item["origin"] for item in rejected)
    assert all(row.text().strip() for row in kept)


accounts = st.lists(
    st.tuples(st.text("abc", min_size=1, max_size=3), st.sampled_from(["x", "y"])),
    max_size=30,
    unique_by=lambda item: item[0],
)


@given(accounts, st.integers(1, 4))
def test_accounts_of_shards_add_up_to_that_of_the_whole(rejected: list[tuple[str, str]], shards: int) -> None:
    def account(part: list[tuple[str, str]]) -> StepAccount:
        made = StepAccount("s", rows_in=len(part) + 1, rows_out=1)
        for identity, reason in part:
            made.note_rejection(identity, "f:1", identity, Rejection(reason))
        made.count({"seen": len(part)})
        return made

    whole = account(rejected)
    whole.rows_in, whole.rows_out = len(rejected) + shards, shards
    parts = [account(rejected[start::shards]) for start in range(shards)]
    (merged,) = merge_accounts([StepAccount.from_json(json.loads(json.dumps(part.as_json())))] for part in parts)
    assert merged.as_json() == whole.as_json()


@given(st.lists(st.integers(0, 1000), unique=True), st.integers(1, 5))
def test_examples_do_not_depend_on_the_order(keys: list[int], limit: int) -> None:
    forward = Examples(limit, [(key, str(key)) for key in keys])
    backward = Examples(limit, [(key, str(key)) for key in reversed(keys)])
    assert forward.entries() == backward.entries() == [(key, str(key)) for key in sorted(keys)[:limit]]


def test_keys_are_spread_and_stable() -> None:
    keys = [row_key(str(number)) for number in range(2000)]
    assert len(set(keys)) == 2000
    assert 850 < sum(key < 1 << 63 for key in keys) < 1150
    assert row_key("a") == row_key("a") != row_key("a", "salt")


def test_a_step_that_loses_rows_is_a_defect(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="s: 3"):
        StepAccount("s", rows_in=3, rows_out=2).check()
