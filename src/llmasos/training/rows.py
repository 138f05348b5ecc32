"""The rows that a recipe trains and validates on: read, divided without leakage, limited by chance."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from llmasos.data.row import Label, Parallel, Preference, Row, Sample, Text
from llmasos.data.sources.config import Source
from llmasos.data.sources.plan import Plan
from llmasos.data.sources.planning import TRAIN, make_plan
from llmasos.data.sources.rows import planned_rows
from llmasos.errors import InvalidRecipe, InvalidRequest, did_you_mean
from llmasos.i18n import t
from llmasos.training.recipe.data import TrainingData

Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class RowSet:
    """The rows of one set, read from the sources again each time.

    Attributes:
        rows: gives them from the start.
        count: how many there are.
        digest: of everything that decides which rows these are, as long as nobody changes the files meanwhile.
        unreadable: what in the files was no row, by reason.
        left_out: rows not used, by reason.
    """

    rows: Callable[[], Iterator[Row]]
    count: int
    digest: str
    unreadable: dict[str, int]
    left_out: dict[str, int]


@dataclass(frozen=True)
class DataRows:
    """The rows of a recipe before rendering.

    Attributes:
        validation: ``None`` if the recipe names none.
        plans: how the sources are read, those of training first.
        kind: the kind of all samples.
    """

    train: RowSet
    validation: RowSet | None
    plans: tuple[Plan, ...]
    kind: str


@dataclass(frozen=True)
class _Read:
    """What one look at all rows of a plan found: (N,) keys of what must not be on both sides."""

    plan: Plan
    keys: Keys
    unreadable: dict[str, int]


def read_rows(data: TrainingData, *, seed: int) -> DataRows:
    """Find the sources, divide their rows into training and validation, and apply the limits.

    Rows with the same input (see :func:`input_of`) never stand on both sides: a share is divided by their content,
    and training rows that are also in validation sources are left out. All choices follow from the seed.

    Raises:
        NotFound, InvalidRecipe: see :func:`llmasos.data.sources.planning.make_plan`; or a column is missing.
        InvalidRequest: a set would be empty.
    """
    train = _look(data.train)
    validation = _look(data.validation) if data.validation else None
    kinds = {source.layout.kind for read in (train, validation) if read is not None for source in read.plan.sources}
    if len(kinds) > 1:
        raise InvalidRecipe(
            t("the sources hold different kinds of samples: {kinds}", kinds=", ".join(sorted(kinds))),
            hint=t("Give them layouts of the same kind; templates make prompts and completions of anything."),
        )
    kind = kinds.pop()
    plans = (train.plan,) if validation is None else (train.plan, validation.plan)
    used = np.ones(len(train.keys), bool)
    left_out: Counter[str] = Counter()
    held: RowSet | None = None
    if validation is not None:
        leaked = np.isin(train.keys, validation.keys)
        left_out["in_validation"] = int(leaked.sum())
        used &= ~leaked
        chosen = np.ones(len(validation.keys), bool)
        held = _limited(validation, chosen, data.validation_limit, [seed, 2], {})
    elif data.validation_share:
        chosen = _share(train.keys, data.validation_share)
        if kind == Text.kind and (chosen.all() or data.validation_share * len(chosen) < 0.5):
            return _cut(train, data, plans)
        held = _limited(train, chosen, data.validation_limit, [seed, 2], {})
        used &= ~chosen
    learned = _limited(train, used, data.train_limit, [seed, 1], left_out)
    for name, part in ((t("training"), learned), (t("validation"), held)):
        if part is not None and part.count == 0:
            raise InvalidRequest(
                t("no row is left for {set}: {total} were read", set=name, total=len(train.keys)),
                hint=t("Change validation_share, or name validation sources of their own."),
            )
    return DataRows(learned, held, plans, kind)


def _look(sources: Sequence[Source]) -> _Read:
    """Read every row once."""
    for source in sources:
        if source.into not in (None, TRAIN):
            raise InvalidRecipe(
                t("a source of training has into = {value!r}", value=source.into),
                hint=t("Put the source under data.validation instead."),
            )
    plan = make_plan(sources, Path(), shard_bytes=1 << 40)
    keys: list[int] = []
    unreadable: Counter[str] = Counter()
    read: Counter[str] = Counter()
    details: dict[str, str] = {}
    for item in planned_rows(plan):
        if isinstance(item, Row):
            keys.append(_key(item.sample))
            read[item.origin.source] += 1
        else:
            unreadable[item.rejection.reason] += 1
            details.setdefault(item.origin.source, f"{item.origin}: {item.rejection.reason}: {item.rejection.detail}")
    for name, detail in details.items():
        if not read[name]:
            raise nothing_readable(plan, name, detail)
    return _Read(plan, np.array(keys, np.uint64), dict(unreadable))


def nothing_readable(plan: Plan, name: str, detail: str) -> InvalidRequest:
    source = next(source for source in plan.sources if source.name == name)
    columns = source.unused_columns
    wanted = sorted(source.layout.columns())
    near = [found for column in wanted if (found := did_you_mean(column, list(columns))) is not None]
    return InvalidRequest(
        t("no row of the source {name} can be read as {kind}; the first: {detail}",
          name=name, kind=source.layout.kind, detail=detail),
        hint=t("The layout reads {wanted}; other columns are {columns}. {near}",
               wanted=", ".join(wanted), columns=", ".join(columns) or "-", near=" ".join(near)).strip(),
    )  # fmt: skip


def input_of(sample: Sample) -> object:
    """What must not stand in training and validation both: the text to classify or to translate, the prompt of a
    preference; of all else the whole sample, as many tasks share one prompt."""
    match sample:
        case Label():
            return [sample.text, sample.pair]
        case Parallel():
            return sample.source
        case Preference():
            return [message.content for message in sample.prompt]
        case _:
            return [text for _, text in sample.texts()]


def _key(sample: Sample) -> int:
    text = orjson.dumps(input_of(sample)).decode()
    return int.from_bytes(hashlib.blake2b(" ".join(text.split()).casefold().encode(), digest_size=8).digest(), "big")


def _share(keys: Keys, share: float) -> NDArray[np.bool_]:
    """Which rows are for validation: about the share, those with equal keys together; keys are as good as random.

    They do not depend on the seed, so that another seed learns and is measured on the same rows.
    """
    wanted = max(round(share * len(keys)), 1)
    ordered = np.sort(keys)
    chosen: NDArray[np.bool_] = keys <= ordered[wanted - 1]
    return chosen


def _limited(
    read: _Read, used: NDArray[np.bool_], limit: int | None, seed: list[int], left_out: Counter[str] | dict[str, int]
) -> RowSet:
    """The chosen rows, at most ``limit`` of them by chance, in their order."""
    counts = dict(left_out)
    numbers = np.flatnonzero(used)
    if limit is not None and len(numbers) > limit:
        counts["over_limit"] = len(numbers) - limit
        numbers = np.sort(np.random.default_rng(seed).choice(numbers, limit, replace=False))
    chosen = np.zeros(len(used), bool)
    chosen[numbers] = True

    def rows() -> Iterator[Row]:
        readable = (item for item in planned_rows(read.plan) if isinstance(item, Row))
        return (row for row, wanted in zip(readable, chosen, strict=True) if wanted)

    digest = _digest(read.plan, chosen.tobytes())
    return RowSet(rows, len(numbers), digest, read.unreadable, {name: n for name, n in counts.items() if n})


def _cut(read: _Read, data: TrainingData, plans: tuple[Plan, ...]) -> DataRows:
    """Few long documents: the end of each is for validation, as character-level benchmarks do it."""

    def part(*, end: bool) -> Callable[[], Iterator[Row]]:
        def rows() -> Iterator[Row]:
            for item in planned_rows(read.plan):
                if isinstance(item, Row):
                    (_, text), *_ = item.texts()
                    begin = int(len(text) * (1 - data.validation_share))
                    piece = text[begin:] if end else text[:begin]
                    if piece:
                        yield item.with_texts([piece])

        return rows

    if data.train_limit is not None or data.validation_limit is not None:
        raise InvalidRecipe(
            t("{count} document(s) cannot be divided into training and validation rows and limited too",
              count=len(read.keys)),
            hint=t("Leave out train_limit and validation_limit, or read documents by paragraph or line."),
        )  # fmt: skip
    sets = [
        RowSet(rows, sum(1 for _ in rows()), _digest(read.plan, f"{name} {data.validation_share}".encode()),
               read.unreadable, {})
        for name, rows in (("beginnings", part(end=False)), ("ends", part(end=True)))
    ]  # fmt: skip
    if not all(part.count for part in sets):
        raise InvalidRequest(
            t("the documents are too short to be divided"), hint=t("Name validation sources of their own.")
        )
    return DataRows(sets[0], sets[1], plans, Text.kind)


def _digest(plan: Plan, choice: bytes) -> str:
    """Of the files by their bytes, how they are read, and which rows are chosen; not of where the files lie."""
    sources = [
        source.model_dump(
            mode="json", exclude={"files": {"__all__": {"path", "second", "pieces"}}, "skipped_files": True}
        )
        for source in plan.sources
    ]
    hasher = hashlib.sha256(orjson.dumps(sources, option=orjson.OPT_SORT_KEYS))
    hasher.update(choice)
    return "sha256:" + hasher.hexdigest()
