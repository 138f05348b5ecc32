"""Near duplicates: recall and precision against brute force, documents per second, peak memory.

    python benchmarks/deduplication.py --lines corpus.txt [--documents 1000000] [--json FILE]

`--lines` names text files with one sentence a line (plain, or the first column of TSV). Documents are made of them:
most by joining four lines at random, some as variants of an earlier document with words replaced, dropped or inserted.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from llmasos.data.deduplication.near import NearDuplicates
from llmasos.data.row import Origin, Row, Text

SHARD = 50_000


def make_documents(lines: list[str], count: int, seed: int, *, variants: float) -> Iterator[str]:
    """Documents of four lines; with this probability a changed copy of one of the last thousand instead."""
    chance = random.Random(seed)
    recent: list[str] = []
    for _ in range(count):
        if recent and chance.random() < variants:
            document = change(chance.choice(recent), chance, lines)
        else:
            document = " ".join(chance.choices(lines, k=4))
        recent.append(document)
        del recent[:-1000]
        yield document


def change(document: str, chance: random.Random, lines: list[str]) -> str:
    """Change up to a quarter of the words (or of pieces of four characters where there are no spaces)."""
    spaced = document.count(" ") * 12 > len(document)
    words = document.split(" ") if spaced else [document[i : i + 4] for i in range(0, len(document), 4)]
    for _ in range(chance.randint(0, max(1, len(words) // 4))):
        place = chance.randrange(len(words))
        kind = chance.randrange(3)
        other = chance.choice(lines)
        new = chance.choice(other.split(" ") if spaced else [other[:4]])
        if kind == 0:
            words[place] = new
        elif kind == 1 and len(words) > 4:
            del words[place]
        else:
            words.insert(place, new)
    return (" " if spaced else "").join(words)


def rows(documents: Iterator[str], first: int = 0) -> Iterator[Row]:
    for number, text in enumerate(documents, first):
        yield Row(str(number), Origin("benchmark", "made", number + 1), Text(text))


def brute_force(documents: list[str], size: int, threshold: float) -> dict[tuple[int, int], float]:
    """All pairs with their similarity, from sets of strings; shares no code with what is measured."""
    from scipy.sparse import csr_matrix

    numbers: dict[tuple[str, ...], int] = {}
    indices, indptr = [], [0]
    for document in documents:
        words = reference_words(document)
        runs = {tuple(words[i : i + size]) for i in range(max(1, len(words) - size + 1))} if words else set()
        indices.extend(numbers.setdefault(run, len(numbers)) for run in sorted(runs))
        indptr.append(len(indices))
    matrix = csr_matrix((np.ones(len(indices), np.int32), indices, indptr), (len(documents), len(numbers)))
    shared = (matrix @ matrix.T).tocoo()
    sizes = np.diff(indptr)
    similarity = shared.data / (sizes[shared.row] + sizes[shared.col] - shared.data)
    chosen = (shared.row < shared.col) & (similarity >= threshold)
    pairs = zip(shared.row[chosen].tolist(), shared.col[chosen].tolist(), strict=True)
    return dict(zip(pairs, similarity[chosen].tolist(), strict=True))


def reference_words(document: str) -> list[str]:
    """Words of letters and digits, ideographs one by one."""
    words: list[str] = []
    current = ""
    for char in document.lower():
        if "一" <= char <= "鿿":
            words += [current, char]
            current = ""
        elif char.isalnum():
            current += char
        else:
            words.append(current)
            current = ""
    return [word for word in [*words, current] if word]


def removed_by_reference(pairs: dict[tuple[int, int], float], count: int) -> set[int]:
    """All members of a connected group but the first."""
    parents = list(range(count))

    def find(item: int) -> int:
        while parents[item] != item:
            item = parents[item]
        return item

    for first, second in sorted(pairs):
        a, b = find(first), find(second)
        parents[max(a, b)] = min(a, b)
    return {item for item in range(count) if find(item) != item}


def quality(lines: list[str], count: int, config: NearDuplicates) -> dict[str, float]:
    documents = list(make_documents(lines, count, 7, variants=0.4))
    reference = brute_force(documents, config.shingle_size, config.threshold)
    expected = removed_by_reference(reference, count)
    with tempfile.TemporaryDirectory() as name:
        folder, step = Path(name), config.build()
        step.map_shard(rows(iter(documents)), 0, folder)
        for partition in range(step.partitions):
            step.reduce_partition(partition, 1, folder)
        step.conclude(1, folder)
        outcomes = list(step.apply(rows(iter(documents)), 0, folder))
        pairs = np.concatenate([np.load(file) for file in sorted(folder.glob("pairs-*.npy"))])
    removed = {number for number, outcome in enumerate(outcomes) if outcome.rejection is not None}
    reported = {(int(pair["first"]), int(pair["second"])) for pair in pairs}
    return {
        "documents": count,
        "pairs_of_reference": len(reference),
        "removed_by_reference": len(expected),
        "removed": len(removed),
        "recall_of_removed": len(removed & expected) / len(expected),
        "precision_of_removed": len(removed & expected) / len(removed),
        "precision_of_reported_pairs": len(reported & reference.keys()) / len(reported),
    }


def map_one(task: tuple[NearDuplicates, Path, list[str], int, int]) -> None:
    config, folder, lines, shard, count = task
    config.build().map_shard(rows(make_documents(lines, count, shard, variants=0.1), shard * SHARD), shard, folder)


def reduce_one(task: tuple[NearDuplicates, Path, int, int]) -> None:
    config, folder, partition, shards = task
    config.build().reduce_partition(partition, shards, folder)


def apply_one(task: tuple[NearDuplicates, Path, list[str], int, int]) -> int:
    config, folder, lines, shard, count = task
    made = rows(make_documents(lines, count, shard, variants=0.1), shard * SHARD)
    return sum(outcome.rejection is not None for outcome in config.build().apply(made, shard, folder))


def speed(lines: list[str], count: int, workers: int, config: NearDuplicates) -> dict[str, float]:
    sizes = [min(SHARD, count - start) for start in range(0, count, SHARD)]
    started = time.perf_counter()
    for shard, size in enumerate(sizes[:2]):
        for _ in make_documents(lines, size, shard, variants=0.1):
            pass
    making = (time.perf_counter() - started) / min(2, len(sizes)) * len(sizes)
    result: dict[str, float] = {"documents": count, "workers": workers, "seconds_making_documents_once": making}
    with tempfile.TemporaryDirectory() as name, ProcessPoolExecutor(workers) as pool:
        folder = Path(name)
        tasks = [(config, folder, lines, shard, size) for shard, size in enumerate(sizes)]
        begun = time.perf_counter()
        list(pool.map(map_one, tasks))
        mapped = time.perf_counter()
        partitions = config.build().partitions
        list(pool.map(reduce_one, [(config, folder, partition, len(sizes)) for partition in range(partitions)]))
        reduced = time.perf_counter()
        counts = config.build().conclude(len(sizes), folder)
        concluded = time.perf_counter()
        removed = sum(pool.map(apply_one, tasks))
        applied = time.perf_counter()
        result["megabytes_on_disk"] = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    total = applied - begun - 2 * making / workers
    result |= {
        "seconds_map": mapped - begun,
        "seconds_reduce": reduced - mapped,
        "seconds_conclude": concluded - reduced,
        "seconds_apply": applied - concluded,
        "seconds_without_making": total,
        "documents_per_second": count / total,
        "removed": removed,
        "peak_megabytes_of_a_worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        **counts,
    }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", nargs="+", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--reference-documents", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    lines = [
        line.split("\t")[0].strip()
        for path in arguments.lines
        for line in path.read_text(encoding="utf-8").splitlines()
        if len(line.split("\t")[0].strip()) >= 8
    ]
    config = NearDuplicates()
    result = {"quality": quality(lines, arguments.reference_documents, config)}
    if arguments.documents:
        result["speed"] = speed(lines, arguments.documents, arguments.workers, config)
    text = json.dumps(result, indent=2)
    sys.stdout.write(text + "\n")
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
