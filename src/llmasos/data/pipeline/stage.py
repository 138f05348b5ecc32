"""Stages: what runs on every shard before all shards must have come so far.

A stage of rows reads its shard, from the files or from the stage before, applies the corpus step whose phases ended
before it, runs the row steps that follow in the recipe, and notes for the next corpus step while it writes.
"""

from __future__ import annotations

import logging
import shutil
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from datatrove.pipeline.base import PipelineStep
from loguru import logger as datatrove_logger

from llmasos.data.pipeline.account import StepAccount, row_key
from llmasos.data.pipeline.shard import atomic_file, read_json, read_rows, write_json
from llmasos.data.pipeline.steps import Ledger, apply_corpus_step, run_steps, step_name
from llmasos.data.row import Row
from llmasos.data.sources.plan import Plan
from llmasos.data.sources.rows import read_shard
from llmasos.data.step import CorpusStepConfig, StepConfig
from llmasos.errors import LLMasOSError

# Its messages go to standard error of every process; ours come from the account and the errors that tasks leave.
datatrove_logger.disable("datatrove")

INDEX_TYPE = np.dtype([("offset", "<u8"), ("length", "<u4"), ("key", "<u8"), ("split", "<u2")])
"""One entry for each row of a shard: where its line lies in the file, its key for shuffling, its split."""


@dataclass(frozen=True)
class RowStage:
    """A stage over the rows of every shard.

    Attributes:
        folder: of this stage.
        before: folder of the stage before; ``None``: the files of the plan are read.
        applied: the corpus step that is applied first, and the folder of its notes.
        steps: the row steps that follow.
        noted: the corpus step that comes next, and the folder for its notes.
        splits: names of the splits that rows may have in ``metadata["split"]``; empty: all rows are of one.
        salt: of the keys for shuffling, which only the last stage needs; ``None``: no keys.
    """

    folder: Path
    plan_file: Path
    before: Path | None = None
    applied: tuple[CorpusStepConfig, Path] | None = None
    steps: tuple[StepConfig, ...] = ()
    noted: tuple[CorpusStepConfig, Path] | None = None
    splits: tuple[str, ...] = ()
    salt: str | None = None

    def run_shard(self, shard: int) -> None:
        """Do the work on one shard and leave rows, rejected rows, index and account under the folder."""
        with (
            warnings_kept() as warnings,
            atomic_file(self.folder / "rows" / f"{shard:05d}.jsonl") as kept,
            atomic_file(self.folder / "rejected" / f"{shard:05d}.jsonl") as rejected,
        ):
            ledger = Ledger(rejected)
            rows = run_steps(self._rows(shard, ledger), self.steps, ledger)
            writer = _Writer(kept, self.splits, self.salt)
            written = writer.write(rows)
            if self.noted is not None:
                config, folder = self.noted
                folder.mkdir(parents=True, exist_ok=True)
                config.build().map_shard(written, shard, folder)
            for _ in written:  # whatever map_shard left unread
                pass
        with atomic_file(self.folder / "index" / f"{shard:05d}.npy") as file:
            np.save(file, writer.index())
        for account in ledger.accounts:
            account.check()
        content = {"steps": [account.as_json() for account in ledger.accounts], "warnings": warnings}
        write_json(self.folder / "account" / f"{shard:05d}.json", content)

    def _rows(self, shard: int, ledger: Ledger) -> Iterator[Row]:
        if self.before is None:
            return _read(Plan.model_validate_json(self.plan_file.read_bytes()), shard, ledger.open("read"), ledger)
        rows = read_rows(self.before / "rows" / f"{shard:05d}.jsonl")
        if self.applied is None:
            return rows
        config, folder = self.applied
        account = ledger.open(step_name(config))
        return apply_corpus_step(rows, config.build(), shard, folder, account, ledger)

    def accounts(self, shards: int) -> Iterator[list[StepAccount]]:
        """The accounts of all shards, in order."""
        for shard in range(shards):
            content = read_json(self.folder / "account" / f"{shard:05d}.json")
            yield [StepAccount.from_json(value) for value in content["steps"]]

    def warnings(self, shards: int) -> dict[str, None]:
        """What steps warned of, each once, in order."""
        paths = (self.folder / "account" / f"{shard:05d}.json" for shard in range(shards))
        return dict.fromkeys(warning for path in paths for warning in read_json(path)["warnings"])


class _Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message not in self.messages:
            self.messages.append(message)


@contextmanager
def warnings_kept() -> Iterator[list[str]]:
    """Keep what steps warn of instead of writing it once for every shard; it is told once, with the result."""
    logger = logging.getLogger("llmasos.data")
    keeper = _Keeper()
    propagates = logger.propagate
    logger.addHandler(keeper)
    logger.propagate = False
    try:
        yield keeper.messages
    finally:
        logger.removeHandler(keeper)
        logger.propagate = propagates


class _Writer:
    """Writes rows and remembers where each lies."""

    def __init__(self, file: Any, splits: Sequence[str], salt: str | None) -> None:
        self._file = file
        self._codes = {name: code for code, name in enumerate(splits)}
        self._salt = salt
        self._offset = 0
        # Arrays, because a file that cannot be cut may give a shard of millions of rows.
        self._offsets, self._lengths, self._keys, self._splits = array("Q"), array("I"), array("Q"), array("H")

    def write(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            line = row.to_bytes()
            self._file.write(line)
            code = self._codes[row.metadata["split"]] if self._codes else 0
            self._offsets.append(self._offset)
            self._lengths.append(len(line))
            self._keys.append(row_key(row.id, self._salt) if self._salt is not None else 0)
            self._splits.append(code)
            self._offset += len(line)
            yield row

    def index(self) -> np.ndarray[Any, np.dtype[Any]]:
        index = np.empty(len(self._offsets), dtype=INDEX_TYPE)
        index["offset"], index["length"], index["key"] = self._offsets, self._lengths, self._keys
        index["split"] = self._splits
        return index


def _read(plan: Plan, shard: int, account: StepAccount, ledger: Ledger) -> Iterator[Row]:
    for item in read_shard(plan, shard):
        account.rows_in += 1
        if isinstance(item, Row):
            account.rows_out += 1
            yield item
        else:
            ledger.reject_record(account, item.id, str(item.origin), item.raw, item.rejection)


@dataclass(frozen=True)
class ReduceStage:
    """The second phase of a corpus step, one task for each partition."""

    config: CorpusStepConfig
    notes: Path
    shards: int

    def run_shard(self, partition: int) -> None:
        self.config.build().reduce_partition(partition, self.shards, self.notes)


@dataclass(frozen=True)
class ConcludeStage:
    """The third phase of a corpus step, one task."""

    config: CorpusStepConfig
    notes: Path
    conclusion: Path
    shards: int

    def run_shard(self, _task: int) -> None:
        counts = self.config.build().conclude(self.shards, self.notes)
        write_json(self.conclusion, dict(counts))


class TaskFailed(Exception):  # noqa: N818 - as those of errors.py
    """A task failed; what happened lies in the folder of errors. Plain, so that it passes between processes."""


class StageBlock(PipelineStep):  # type: ignore[misc]  # datatrove has no types
    """A stage as a block of datatrove: one rank is one shard or partition."""

    type = "LLMasOS"
    name = "stage"

    def __init__(self, stage: Any, errors: Path) -> None:
        super().__init__()
        self.stage = stage
        self.errors = errors

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Any:
        del data, world_size
        try:
            self.stage.run_shard(rank)
        except LLMasOSError as error:
            write_json(
                self.errors / f"{rank:05d}.json",
                {"class": type(error).__name__, "message": error.message, "hint": error.hint},
            )
            raise TaskFailed(error.message) from error
        return cast(Any, ())


def remove_folder(path: Path) -> None:
    """Remove a folder of the work that is needed no more."""
    shutil.rmtree(path, ignore_errors=True)
