"""Rows for tests, and running a corpus step as the pipeline does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from llmasos.data.row import Label, Origin, PromptCompletion, Row, Sample, Text
from llmasos.data.step import CorpusStep, Outcome


def row(sample: Sample | str, number: int = 1, **metadata: object) -> Row:
    """A row of a sample, or of a document."""
    made = Text(sample) if isinstance(sample, str) else sample
    return Row(f"made/file.jsonl:{number}", Origin("made", "file.jsonl", number), made, metadata)


def rows(texts: Iterable[str], first: int = 1) -> list[Row]:
    return [row(text, number) for number, text in enumerate(texts, first)]


def prompt(text: str, completion: str, number: int = 1) -> Row:
    return row(PromptCompletion(text, completion), number)


def labelled(text: str, label: str, number: int = 1) -> Row:
    return row(Label(text, label), number)


def run_corpus_step(step: CorpusStep, data: Sequence[Row], folder: Path, *, shards: int = 1) -> list[Outcome]:
    """All phases of a step over data that are cut into shards; the outcomes in the order of the rows."""
    size = max(1, -(-len(data) // shards))
    parts = [data[start : start + size] for start in range(0, size * shards, size)]
    for shard, part in enumerate(parts):
        step.map_shard(part, shard, folder)
    for partition in reversed(range(step.partitions)):
        step.reduce_partition(partition, shards, folder)
    step.conclude(shards, folder)
    return [outcome for shard, part in enumerate(parts) for outcome in step.apply(part, shard, folder)]


def removed(outcomes: Sequence[Outcome]) -> list[int]:
    """Indices of the rows that were rejected."""
    return [index for index, outcome in enumerate(outcomes) if outcome.rejection is not None]
