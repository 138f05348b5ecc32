"""Other data sets to compare with: evaluation sets, data that a model was trained on before."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from llmasos.data.row import Row
from llmasos.data.sources.config import AlignedSource, FileSource, HubSource, Source
from llmasos.data.sources.planning import make_plan
from llmasos.data.sources.rows import planned_rows

logger = logging.getLogger(__name__)

_SHARD_BYTES = 256 * 2**20


def read_other_data(sources: Sequence[Source]) -> Iterator[Row]:
    """The rows of other data sets, in order. What cannot be read is counted and told by the log.

    Raises:
        NotFound, InvalidRecipe, IntegrityError: see :func:`llmasos.data.sources.planning.make_plan`.
    """
    plan = make_plan(sources, Path(), shard_bytes=_SHARD_BYTES)
    unread: Counter[str] = Counter()
    for item in planned_rows(plan):
        if isinstance(item, Row):
            yield item
        else:
            unread[item.origin.source] += 1
    for name, count in unread.items():
        logger.warning("%s: %d records could not be read and were not compared", name, count)


def resolve_sources(sources: Sequence[Source], folder: Path) -> tuple[Source, ...]:
    """The same sources with paths relative to this folder."""

    def absolute(path: str) -> str:
        return str(folder / Path(path).expanduser())

    resolved: list[Source] = []
    for source in sources:
        if isinstance(source, FileSource):
            path = absolute(source.path) if isinstance(source.path, str) else tuple(map(absolute, source.path))
            source = source.model_copy(update={"path": path})
        elif isinstance(source, AlignedSource):
            source = source.model_copy(update={"first": absolute(source.first), "second": absolute(source.second)})
        elif isinstance(source, HubSource) and source.dataset.startswith((".", "~")):
            source = source.model_copy(update={"dataset": absolute(source.dataset)})
        resolved.append(source)
    return tuple(resolved)
