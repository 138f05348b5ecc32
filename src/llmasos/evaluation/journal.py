"""Records on disk while a run goes on, so that a run that was killed continues where it stopped.

``journal-00000.jsonl`` and so on hold one record on each line, in the order in which they were finished. Every line is
handed to the operating system at once, which survives a killed process, and to the disk every few seconds. A line
that was cut off by a crash is left out: its sample is run again, as are samples that ended with an error.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import orjson

from llmasos import progress
from llmasos.errors import IntegrityError
from llmasos.evaluation.records import Record, Status
from llmasos.i18n import t
from llmasos.library.disk import full_disk_as_error, sync_folder, write_file

_HEAD = "run.json"
_SHARD_RECORDS = 10_000
_SYNC_SECONDS = 5.0


class Journal:
    """The records of one run.

    Args:
        folder: of the run; made if need be.
        key: digest of all that decides the records; another key begins anew.
        resume: keep what is there.
    """

    def __init__(self, folder: Path, key: str, *, resume: bool) -> None:
        self.folder, self._key = folder, key
        self._file: BinaryIO | None = None
        self._count = 0
        self._synced = time.monotonic()
        with full_disk_as_error(folder.parent):
            folder.mkdir(parents=True, exist_ok=True)
        known = self._known_key()
        if not (resume and known == key):
            if resume and known is not None:
                text = t("{folder} holds a run of another task, data, model or settings: it begins anew", folder=folder)
                progress.current().log(text, level="warning")
            self.clear()
        self._write_head()

    def finished(self) -> dict[int, Record]:
        """The records that are there and need not be made again, by their index."""
        found: dict[int, Record] = {}
        for shard in self._shards():
            for record in _read(shard):
                if record.status is not Status.ERROR:
                    found[record.index] = record
        return found

    def append(self, record: Record) -> None:
        """Write a record down.

        Raises:
            OutOfDisk: it does not fit.
        """
        if self._file is None or self._count >= _SHARD_RECORDS:
            self._open_next()
        assert self._file is not None
        line = orjson.dumps(record.as_json(), option=orjson.OPT_NON_STR_KEYS) + b"\n"
        with full_disk_as_error(self.folder):
            self._file.write(line)
            self._count += 1
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()

    def close(self) -> None:
        """Make everything durable."""
        if self._file is not None:
            with full_disk_as_error(self.folder):
                os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def clear(self) -> None:
        """Forget everything."""
        for shard in self._shards():
            shard.unlink()
        (self.folder / _HEAD).unlink(missing_ok=True)

    # --- inside -----------------------------------------------------------------------------------------------

    def _shards(self) -> list[Path]:
        return sorted(self.folder.glob("journal-*.jsonl"))

    def _open_next(self) -> None:
        self.close()
        shards = self._shards()
        number = int(shards[-1].stem.rpartition("-")[2]) + 1 if shards else 0
        with full_disk_as_error(self.folder):
            # Without a buffer of our own, so that a line that was written survives this process.
            self._file = (self.folder / f"journal-{number:05d}.jsonl").open("xb", buffering=0)
            sync_folder(self.folder)
        self._count = 0

    def _known_key(self) -> str | None:
        try:
            known = orjson.loads((self.folder / _HEAD).read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return None
        return str(known.get("key")) if isinstance(known, dict) else None

    def _write_head(self) -> None:
        write_file(self.folder / _HEAD, orjson.dumps({"key": self._key}))


def _read(shard: Path) -> Iterator[Record]:
    lines = shard.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            yield Record.from_json(orjson.loads(line))
        except (orjson.JSONDecodeError, TypeError, KeyError, ValueError) as error:
            if number == len(lines):  # cut off by a crash: nothing follows it
                return
            raise IntegrityError(
                t("{place} is damaged: {problem}", place=f"{shard}:{number}", problem=error),
                hint=t("Run the evaluation without --resume."),
            ) from error
