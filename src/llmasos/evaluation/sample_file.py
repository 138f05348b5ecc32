"""The samples of a finished evaluation, a page at a time: filtered and searched without holding all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

from llmasos.errors import IntegrityError
from llmasos.evaluation.parquet import record_of
from llmasos.evaluation.records import Record, Status
from llmasos.i18n import t

_SEARCHED = ("prompt", "output", "parsed", "error", "references", "sample_id")
_ROWS_AT_ONCE = 512


class SampleFile:
    """``samples.parquet`` of one evaluation. Each call opens the file, so that nothing is held between them.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def statuses(self) -> list[Status]:
        """The verdict on each sample, in the order of the file.

        Raises:
            IntegrityError: the file is damaged or missing, as for all that follows.
        """
        return [Status(value) for value in self._column("status")]

    def sample_ids(self) -> list[str]:
        """The id of each sample, in the order of the file."""
        return self._column("sample_id")

    def search(self, text: str) -> list[int]:
        """Places of the samples that have the text, in whatever case, in prompt, output, answer, reference, error or
        id."""
        import numpy as np
        import pyarrow.compute as pc

        found: list[int] = []
        with self._open() as file:
            start = 0
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=list(_SEARCHED)):
                matches = np.zeros(batch.num_rows, dtype=bool)
                for name in _SEARCHED:
                    column = batch.column(name)
                    if name == "references":
                        column = pc.binary_join(column, "\n")
                    here = pc.fill_null(pc.match_substring(column, text, ignore_case=True), False)
                    matches |= here.to_numpy(zero_copy_only=False)
                found += (start + np.flatnonzero(matches)).tolist()
                start += batch.num_rows
        return found

    def records(self, places: Sequence[int]) -> list[Record]:
        """The samples at some places, in the order asked for."""
        rows: dict[int, Any] = {}
        with self._open() as file:
            sizes = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
            for number, (end, size) in enumerate(zip(accumulate(sizes), sizes, strict=True)):
                here = sorted({place for place in places if end - size <= place < end})
                if here:
                    taken = file.read_row_group(number).take([place - end + size for place in here])
                    rows.update(zip(here, taken.to_pylist(), strict=True))
            return [record_of(dict(rows[place])) for place in places]

    def _column(self, name: str) -> list[Any]:
        with self._open() as file:
            return list(file.read(columns=[name]).column(0).to_pylist())

    @contextmanager
    def _open(self) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.path) as file:
                yield file
        except (pa.ArrowInvalid, OSError, KeyError, TypeError, ValueError) as error:
            raise IntegrityError(
                t("{path} is damaged: {problem}", path=self.path, problem=error), hint=t("Run the evaluation again.")
            ) from error
