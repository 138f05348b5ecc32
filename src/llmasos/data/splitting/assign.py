"""Assigning rows to splits and mixing sources, as a step over the corpus.

Every row has a key: a hash of its id or group, or its time. Each shard notes the keys; the conclusion turns shares
into thresholds on the sorted keys, so that the result depends on the rows alone and needs eight bytes for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from llmasos.data.pipeline.account import row_key
from llmasos.data.pipeline.shard import atomic_file, read_json, write_json
from llmasos.data.row import Row
from llmasos.data.splitting.config import Mixture, RandomSplit, RepeatMixture, Split, TimeSplit
from llmasos.data.step import CorpusStepConfig, Counts, Outcome, Rejection
from llmasos.errors import InvalidRecipe
from llmasos.i18n import t

TRAIN = "train"
_NOTE = np.dtype([("stratum", "<u8"), ("key", "<u8"), ("source", "<u2"), ("fixed", "?"), ("mix", "<u8")])
_FIRST_HALF = 1 << 63


class AssignConfig(CorpusStepConfig):
    """Put every row into a split, and take each source as often as the mixture says."""

    step: Literal["split_and_mix"] = "split_and_mix"
    split: Split | None = Field(None, description="How to split.")
    mix: Mixture | None = Field(None, description="How to mix.")
    seed: int = Field(description="Seed of all choices.")
    sources: tuple[str, ...] = Field(description="Names of the sources.")
    into: tuple[str, ...] = Field(description="The split of each source; rows of train are split further.")

    def build(self) -> _Assign:
        return _Assign(self)


class _Assign:
    partitions = 0

    def __init__(self, config: AssignConfig) -> None:
        self._config = config
        self._codes = {name: code for code, name in enumerate(config.sources)}

    def map_shard(self, rows: Iterable[Row], shard: int, folder: Path) -> None:
        config = self._config
        notes = np.array(
            [
                (
                    *self._key(row),
                    self._codes[row.origin.source],
                    config.into[self._codes[row.origin.source]] != TRAIN,
                    row_key(row.id, f"mix {config.seed}") if config.mix is not None else 0,
                )
                for row in rows
            ],
            dtype=_NOTE,
        )
        with atomic_file(folder / f"{shard:05d}.npy") as file:
            np.save(file, notes)

    def reduce_partition(self, partition: int, shards: int, folder: Path) -> None:
        raise AssertionError("there are no partitions")

    def conclude(self, shards: int, folder: Path) -> Counts:
        notes = np.concatenate([np.load(folder / f"{shard:05d}.npy") for shard in range(shards)])
        free = notes[~notes["fixed"]]
        bounds = {
            str(stratum): [int(bound) for bound in self._bounds(free[free["stratum"] == stratum]["key"])]
            for stratum in np.unique(free["stratum"])
        }
        passes: dict[str, list[int]] = {}
        if self._config.mix is not None:
            upper = np.array([bounds[str(stratum)][0] for stratum in free["stratum"]], dtype=np.uint64)
            train = free[free["key"] < upper] if len(free) else free
            passes = self._passes(train)
        write_json(folder / "decisions.json", {"bounds": bounds, "passes": passes})
        return {}

    def apply(self, rows: Iterable[Row], shard: int, folder: Path) -> Iterator[Outcome]:
        decisions = read_json(folder / "decisions.json")
        bounds: Mapping[str, list[int]] = decisions["bounds"]
        passes: Mapping[str, list[int]] = decisions["passes"]
        for row in rows:
            into = self._config.into[self._codes[row.origin.source]]
            if into != TRAIN:
                yield Outcome(row.with_metadata(split=into), None, {f"rows_in_{into}": 1})
                continue
            stratum, key = self._key(row)
            name = self._split_of(bounds[str(stratum)], key)
            if name != TRAIN or row.origin.source not in passes:
                yield Outcome(row.with_metadata(split=name), None, {f"rows_in_{name}": 1})
                continue
            whole, bound = passes[row.origin.source]
            copies = whole + (row_key(row.id, f"mix {self._config.seed}") < bound)
            if not copies:
                yield Outcome(row, Rejection("left_out_of_mixture", f"the weight of {row.origin.source} left it out"))
            for copy in range(copies):
                identity = row.id if copy == 0 else f"{row.id}#{copy + 1}"
                yield Outcome(replace(row, id=identity).with_metadata(split=name), None, {f"rows_in_{name}": 1})

    # Keys

    def _key(self, row: Row) -> tuple[int, int]:
        split = self._config.split
        if isinstance(split, TimeSplit):
            return 0, _sortable(_time(row, split.column))
        salt = f"split {self._config.seed}"
        if isinstance(split, RandomSplit):
            if split.group_by is not None:
                return 0, row_key(value_of(row, split.group_by), salt)
            if split.stratify_by is not None:
                return row_key(value_of(row, split.stratify_by)), row_key(row.id, salt)
        return 0, row_key(row.id, salt)

    # Bounds: train has the keys below the first; part i those from bound i up to the next

    def _parts(self) -> dict[str, float]:
        return dict(self._config.split.parts) if self._config.split is not None else {}

    def _bounds(self, keys: Any) -> list[int]:
        """Thresholds that give each part its share of ``keys``, rows with the same key staying together."""
        parts = list(self._parts().values())
        ordered = np.sort(keys)
        total = len(ordered)
        # Whole rows that add up: the last parts end at the end, each begins where its share says.
        begin = total - round(sum(parts) * total)
        bounds: list[int] = []
        for share in parts:
            bounds.append(int(ordered[begin]) if begin < total else 2**64 - 1)
            begin += round(share * total)
        return bounds or [2**64 - 1]

    def _split_of(self, bounds: list[int], key: int) -> str:
        name = TRAIN
        for part, bound in zip(self._parts(), bounds, strict=False):
            if key >= bound:
                name = part
        return name

    # Mixtures

    def _passes(self, train: Any) -> dict[str, list[int]]:
        """For each source the whole passes over it, and the bound of the keys of rows that are taken once more."""
        mix = self._config.mix
        assert mix is not None
        counts = {name: int((train["source"] == code).sum()) for name, code in self._codes.items()}
        if isinstance(mix, RepeatMixture):
            wanted = {name: mix.weights.get(name, 1.0) * count for name, count in counts.items()}
        else:
            named = {name: weight / sum(mix.weights.values()) for name, weight in mix.weights.items()}
            if empty := [name for name in named if not counts[name]]:
                raise InvalidRecipe(
                    t("nothing is left of the source {name!r} to mix", name=empty[0]),
                    hint=t("Look at the report of a run without mix to see which step rejected its rows."),
                )
            total = mix.rows or min(counts[name] / share for name, share in named.items())
            wanted = {name: share * total for name, share in named.items()}
        result: dict[str, list[int]] = {}
        for name, rows in wanted.items():
            whole, rest = divmod(round(rows), counts[name]) if counts[name] else (0, 0)
            keys = np.sort(train["mix"][train["source"] == self._codes[name]])
            result[name] = [whole, int(keys[rest]) if rest else 0]
        return result


def value_of(row: Row, name: str) -> str:
    """What a recipe means by a name: a column of metadata, the label, the source, the file, or the text at a place.

    Raises:
        InvalidRecipe: the row has nothing of this name.
    """
    if name in row.metadata:
        return str(row.metadata[name])
    if name == "source_name":
        return row.origin.source
    if name == "file":
        return f"{row.origin.source}/{row.origin.file}"
    if name == "label" and row.sample.kind == "label":
        return str(row.sample.as_json()["label"])
    texts = [text for place, text in row.texts() if place == name]
    if texts:
        return "\n".join(texts)
    raise InvalidRecipe(
        t("{origin}: the row has nothing named {name!r} to split by", origin=row.origin, name=name),
        hint=t("Name label, source_name, file, a place such as prompt, or a column listed in metadata of the source."),
    )


def _time(row: Row, column: str) -> float:
    value = row.metadata.get(column)
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    except ValueError:
        pass
    raise InvalidRecipe(
        t("{origin}: {column} = {value!r} is no time", origin=row.origin, column=column, value=value),
        hint=t("Times are ISO 8601 such as 2026-11-25T12:00:00Z, or numbers; list the column in metadata."),
    )


def _sortable(value: float) -> int:
    """A 64-bit number that sorts as the float does: the sign bit flipped, and all bits where it is negative."""
    bits = int(np.float64(value).view(np.uint64))
    return bits | _FIRST_HALF if bits < _FIRST_HALF else (1 << 64) - 1 - bits
