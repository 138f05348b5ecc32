"""From pairs of duplicates to what happens to each row: the phases that exact and near duplicates share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from llmasos.data.deduplication.components import Components
from llmasos.data.deduplication.notes import Array, Identities, save_array, shard_names
from llmasos.data.deduplication.tokens import Positions
from llmasos.data.deduplication.units import Unit, has_parts, part_spans, without_spans
from llmasos.data.row import Row, Text
from llmasos.data.step import Counts, Outcome, Rejection

PAIR = np.dtype([("first", "<i8"), ("second", "<i8"), ("similarity", "<f4")])
"""Two entries that are duplicates; entries are numbered over all shards, other data before them."""

DECISION = np.dtype([("entry", "<i8"), ("kept", "<i8"), ("partner", "<i8"), ("similarity", "<f4")])
"""An entry that goes, numbered within its shard; the entry that stays for it; the one it was compared with."""


class Entries(NamedTuple):
    """How many entries there are: of other data, and of all shards including them."""

    other: int
    first: Positions


def save_pairs(folder: Path, partition: int, pairs: Array) -> None:
    """Keep the pairs that one partition found."""
    save_array(folder / f"pairs-{partition:05d}.npy", pairs)


def conclude(shards: int, partitions: int, folder: Path) -> Counts:
    """Join the pairs of all partitions into groups, of which the first entry stays; decide for each shard."""
    identities = Identities(folder, shard_names(folder, shards))
    entries = Entries(len(identities) - int(identities.first[-1] - identities.first[-1 - shards]), identities.first)
    pairs = np.concatenate([np.load(folder / f"pairs-{partition:05d}.npy") for partition in range(partitions)])
    decisions = decide(pairs, entries.other)
    for shard in range(shards):
        number = len(entries.first) - 1 - shards + shard
        start, end = entries.first[number], entries.first[number + 1]
        chosen = decisions[(decisions["entry"] >= start) & (decisions["entry"] < end)]
        chosen["entry"] -= start
        save_array(folder / f"decisions-{shard:05d}.npy", chosen)
    groups = len(np.unique(decisions["kept"]))
    return {"groups_of_duplicates": groups} if groups else {}


def decide(pairs: Array, other: int) -> Array:
    """Which entries go, rising: all of a connected group but its first, other data excepted.

    Args:
        pairs: of type ``PAIR``.
        other: entries below this number are other data.
    """
    if not len(pairs):
        return np.zeros(0, DECISION)
    nodes = np.unique(np.concatenate([pairs["first"], pairs["second"]]))
    left, right = np.searchsorted(nodes, pairs["first"]), np.searchsorted(nodes, pairs["second"])
    components = Components(len(nodes))
    components.union(left, right)
    kept = nodes[components.find(np.arange(len(nodes)))]
    node = np.concatenate([left, right])
    partner = np.concatenate([pairs["second"], pairs["first"]])
    similarity = np.concatenate([pairs["similarity"], pairs["similarity"]])
    order = np.lexsort((partner, -similarity, partner != kept[node], node))
    best = order[np.unique(node[order], return_index=True)[1]]
    goes = (kept != nodes) & (nodes >= other)
    decisions = np.empty(int(goes.sum()), DECISION)
    decisions["entry"], decisions["kept"] = nodes[goes], kept[goes]
    decisions["partner"], decisions["similarity"] = partner[best][goes], similarity[best][goes]
    return decisions


def apply(rows: Iterable[Row], shard: int, folder: Path, unit: Unit, kind: str) -> Iterator[Outcome]:
    """Carry out the decisions of a shard.

    Args:
        kind: ``exact`` or ``near``; in the names of reasons and counts.
    """
    decisions = np.load(folder / f"decisions-{shard:05d}.npy")
    shards = len(list(folder.glob("decisions-*.npy")))
    identities = Identities(folder, shard_names(folder, shards))
    other = int(identities.first[-1 - shards])
    at = 0
    entry = 0
    for row in rows:
        if unit == "row":
            gone = at < len(decisions) and decisions["entry"][at] == entry
            yield Outcome(row, _reject(decisions[at], identities, other, kind) if gone else None)
            at += gone
            entry += 1
            continue
        if not isinstance(row.sample, Text):
            yield Outcome(row, None, {"rows_without_parts": 1})
            continue
        spans = part_spans(row.sample.text, unit)
        last = int(np.searchsorted(decisions["entry"], entry + len(spans)))
        yield _without_parts(
            row, row.sample.text, [spans[int(e) - entry] for e in decisions["entry"][at:last]], unit, kind
        )
        at, entry = last, entry + len(spans)


def _reject(decision: Array, identities: Identities, other: int, kind: str) -> Rejection:
    kept, partner = identities[int(decision["kept"])], identities[int(decision["partner"])]
    reason = f"{kind}_duplicate" if int(decision["kept"]) >= other else f"{kind}_duplicate_of_other_data"
    if kind == "exact":
        return Rejection(reason, f"same as {kept}", (kept,))
    detail = f"similarity {float(decision['similarity']):.3f} to {partner}"
    if partner != kept:
        return Rejection(reason, f"{detail}, which is in one group with {kept}", (kept, partner))
    return Rejection(reason, detail, (kept,))


def _without_parts(row: Row, text: str, removed: list[tuple[int, int]], unit: Unit, kind: str) -> Outcome:
    if not removed:
        return Outcome(row)
    counts = {f"{unit}s_cut": len(removed), "characters_cut": sum(end - start for start, end in removed)}
    left = without_spans(text, removed)
    if not left:
        return Outcome(row, Rejection(f"only_{kind}_duplicate_{unit}s", f"all {len(removed)} {unit}s stand elsewhere"))
    return Outcome(row.with_texts([left]), None, counts)


def parts_of(row: Row, unit: Unit) -> list[tuple[str, str]]:
    """(identity, text) of the parts of a row; none for rows that have no parts."""
    if not has_parts(row):
        return []
    text = row.text()
    return [(f"{row.id}#{index + 1}", text[start:end]) for index, (start, end) in enumerate(part_spans(text, unit))]
