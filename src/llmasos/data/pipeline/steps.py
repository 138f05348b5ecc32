"""Running the steps of one stage over the rows of one shard, keeping their accounts and every rejected row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from llmasos.data.pipeline.account import StepAccount
from llmasos.data.pipeline.tokens import TokenCounter, TokensConfig
from llmasos.data.row import JsonValue, Row
from llmasos.data.step import (
    BatchFilter,
    CorpusStep,
    Filter,
    FilterConfig,
    Rejection,
    RowTransform,
    RowTransformConfig,
    StepConfig,
    Transform,
    TransformConfig,
)


class Ledger:
    """The accounts of the steps of a stage on one shard, and the file of the rows that they rejected."""

    def __init__(self, rejected: BinaryIO) -> None:
        self.accounts: list[StepAccount] = []
        self._rejected = rejected

    def open(self, name: str) -> StepAccount:
        account = StepAccount(name)
        self.accounts.append(account)
        return account

    def reject(self, account: StepAccount, row: Row, rejection: Rejection) -> None:
        """Keep a row that a step rejected."""
        account.note_rejection(row.id, str(row.origin), row.text(), rejection)
        self._write(account.name, rejection, {"row": row.as_json(), "id": row.id, "origin": str(row.origin)})

    def reject_record(self, account: StepAccount, identity: str, origin: str, raw: str, rejection: Rejection) -> None:
        """Keep what was read but is no row: a broken line, or a record that does not fit the layout."""
        account.note_rejection(identity, origin, raw, rejection)
        self._write(account.name, rejection, {"raw": raw, "id": identity, "origin": origin})

    def _write(self, step: str, rejection: Rejection, content: dict[str, JsonValue]) -> None:
        line: dict[str, JsonValue] = {
            "step": step,
            "reason": rejection.reason,
            "detail": rejection.detail,
            "related": list(rejection.related),
            **content,
        }
        self._rejected.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def step_name(config: StepConfig) -> str:
    """The name of a step, as in the recipe."""
    return str(cast(Any, config).step)


def run_steps(rows: Iterable[Row], configs: Iterable[StepConfig], ledger: Ledger) -> Iterator[Row]:
    """Chain the row steps; rows come out in the order in which they went in."""
    current: Iterator[Row] = iter(rows)
    for config in configs:
        current = _run_step(current, config, ledger)
    return current


def _run_step(rows: Iterator[Row], config: StepConfig, ledger: Ledger) -> Iterator[Row]:
    account = ledger.open(step_name(config))
    if isinstance(config, TransformConfig):
        places = None if config.places is None else frozenset(config.places)
        return _transform(rows, config.build(), places, account)
    if isinstance(config, RowTransformConfig):
        return _transform_rows(rows, config.build(), account)
    assert isinstance(config, FilterConfig)
    if isinstance(config, TokensConfig):
        return _count_tokens(rows, config.build(), account, ledger)
    built = config.build()
    if hasattr(built, "judge"):
        return _filter_batches(rows, cast(BatchFilter, built), account, ledger)
    return _filter(rows, built, account, ledger)


def _transform(
    rows: Iterator[Row], transform: Transform, places: frozenset[str] | None, account: StepAccount
) -> Iterator[Row]:
    for row in rows:
        account.rows_in += 1
        changed = False
        texts: list[str] = []
        for place, text in row.texts():
            if places is None or place in places:
                new, counts = transform(text)
                if counts:
                    account.count(counts)
                if new != text:
                    changed = True
                    text = new
            texts.append(text)
        if changed:
            after = row.with_texts(texts)
            account.note_change(row, after)
            row = after
        account.rows_out += 1
        yield row


def _transform_rows(rows: Iterator[Row], transform: RowTransform, account: StepAccount) -> Iterator[Row]:
    for row in rows:
        account.rows_in += 1
        after, counts = transform.transform_row(row)
        if counts:
            account.count(counts)
        if after.sample != row.sample:
            account.note_change(row, after)
        account.rows_out += 1
        yield after


def _filter(rows: Iterator[Row], accept: Filter, account: StepAccount, ledger: Ledger) -> Iterator[Row]:
    for row in rows:
        account.rows_in += 1
        rejection = accept(row)
        if rejection is None:
            account.rows_out += 1
            yield row
        else:
            ledger.reject(account, row, rejection)


def _filter_batches(rows: Iterator[Row], judge: BatchFilter, account: StepAccount, ledger: Ledger) -> Iterator[Row]:
    while batch := list(islice(rows, judge.batch_size)):
        account.rows_in += len(batch)
        for row, rejection in zip(batch, judge.judge(batch), strict=True):
            if rejection is None:
                account.rows_out += 1
                yield row
            else:
                ledger.reject(account, row, rejection)


def _count_tokens(rows: Iterator[Row], counter: TokenCounter, account: StepAccount, ledger: Ledger) -> Iterator[Row]:
    while batch := list(islice(rows, counter.batch_size)):
        account.rows_in += len(batch)
        for row, rejection, _ in counter.process(batch):
            if rejection is None:
                account.rows_out += 1
                yield row
            else:
                ledger.reject(account, row, rejection)
    account.count(counter.finish())


def apply_corpus_step(
    rows: Iterator[Row], step: CorpusStep, shard: int, folder: Path, account: StepAccount, ledger: Ledger
) -> Iterator[Row]:
    """The last phase of a corpus step on one shard."""
    current: list[Row] = []

    def counted() -> Iterator[Row]:
        for row in rows:
            account.rows_in += 1
            current[:] = [row]
            yield row

    for row, rejection, counts in step.apply(counted(), shard, folder):
        if counts:
            account.count(counts)
        if rejection is not None:
            ledger.reject(account, row, rejection)
            continue
        if current and row.id == current[0].id and row.sample != current[0].sample:
            account.note_change(current[0], row)
        account.rows_out += 1
        yield row
    account.added = account.rows_out + account.rows_rejected - account.rows_in
    assert account.added >= 0, f"{account.name} lost {-account.added} rows"
