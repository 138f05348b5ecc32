"""How fast data are prepared, and with how much memory, beside data-juicer for the same steps.

    python benchmarks/data.py TEXTS --documents 1000000
    python benchmarks/data.py TEXTS --documents 100000 --peer build/data-juicer/bin/dj-process

TEXTS is a JSON Lines or text file of real short texts. They are tiled with noise to the number of documents, so that
there are exact and near duplicates, URLs, mail addresses and broken characters. Both programs get the same file and the
same steps (repair of Unicode, white space, mail addresses, length, exact and MinHash duplicates) and as many processes.
The peak of memory is the largest sum of the proportional shares (PSS) of all processes, looked at ten times a second.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil


@dataclass
class Figure:
    """One measurement."""

    program: str
    documents: int
    kept: int
    seconds: float
    documents_per_second: float
    peak_mib: float


def make_documents(source: Path, count: int, target: Path) -> None:
    """Write ``count`` documents: the source's texts again and again, each changed by chance."""
    chance = random.Random(0)
    texts = []
    with source.open(encoding="utf-8") as file:
        for line in file:
            if line.startswith("{"):
                record = json.loads(line)
                line = str(record.get("text") or record.get("output") or record.get("sentence") or "")
            if len(line.split()) >= 5:
                texts.append(line.strip())
    with target.open("w", encoding="utf-8") as file:
        for number in range(count):
            text = texts[number % len(texts)]
            kind = chance.random()
            if kind > 0.02:  # two in a hundred stay exact duplicates of others
                words = text.split(" ")
                for _ in range(1 if kind < 0.06 else max(len(words) // 3, 3)):
                    words.insert(chance.randrange(len(words) + 1), f"{chance.choice(_WORDS)}{chance.randrange(10**5)}")
                text = " ".join(words)
            if kind > 0.97:
                text += f"  See https://example.org/{number}, or write to user{number}@example.org. "
            elif kind > 0.95:
                text += " caf\u00c3\u00a9 na\u00c3\u00afve"
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


_WORDS = ("river", "stone", "winter", "garden", "letter", "window", "market", "silver", "music", "road")


class PeakMemory:
    """The largest proportional memory of a process and its descendants, in MiB."""

    def __init__(self, process: int) -> None:
        self.peak = 0.0
        self._root = psutil.Process(process)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            total = 0
            try:
                family = [self._root, *self._root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for member in family:
                try:
                    total += member.memory_full_info().pss
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
            self.peak = max(self.peak, total / 2**20)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def run(command: list[str], log: Path) -> tuple[float, float]:
    """Seconds and peak MiB of a command.

    Raises:
        RuntimeError: it failed; the message has the end of its output.
    """
    start = time.perf_counter()
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        with PeakMemory(process.pid) as memory:
            code = process.wait()
    if code:
        raise RuntimeError(f"{command[0]} failed ({code}):\n" + log.read_text()[-2000:])
    return time.perf_counter() - start, memory.peak


OURS = """
kind: data
name: benchmark/data
sources: [{{path: "{path}", layout: {{kind: text}}}}]
steps:
  - step: repair_unicode
  - step: clean_whitespace
  - step: mask_personal_data
    kinds: [email]
  - step: filter_length
    least: 20
    most: 5000
  - step: exact_duplicates
  - step: near_duplicates
    threshold: 0.7
execution: {{workers: {workers}}}
"""

PEER = """
project_name: benchmark
dataset_path: {path}
export_path: {export}
np: {workers}
open_tracer: false
text_keys: text
use_cache: false
process:
  - fix_unicode_mapper:
  - whitespace_normalization_mapper:
  - clean_email_mapper:
      repl: "[EMAIL]"
  - text_length_filter:
      min_len: 20
      max_len: 5000
  - document_deduplicator:
      lowercase: false
  - document_minhash_deduplicator:
      tokenization: space
      window_size: 5
      num_permutations: 128
      jaccard_threshold: 0.7
"""


def ours(path: Path, folder: Path, documents: int, workers: int) -> Figure:
    recipe = folder / "ours.yaml"
    recipe.write_text(OURS.format(path=path, workers=workers))
    command = [
        sys.executable,
        "-m",
        "llmasos.cli.app",
        "--home",
        str(folder / "home"),
        "data",
        "prepare",
        str(recipe),
        "--json",
    ]
    seconds, peak = run(command, folder / "ours.log")
    text = (folder / "ours.log").read_text()
    result = json.loads(text[text.index("\n{\n") if not text.startswith("{") else 0 :])
    return Figure("llmasos", documents, result["totals"]["kept"], seconds, documents / seconds, peak)


def peer(program: Path, path: Path, folder: Path, documents: int, workers: int) -> Figure:
    recipe = folder / "peer.yaml"
    export = folder / "peer.jsonl"
    recipe.write_text(PEER.format(path=path, export=export, workers=workers))
    seconds, peak = run([str(program), "--config", str(recipe)], folder / "peer.log")
    with export.open("rb") as file:
        kept = sum(1 for _ in file)
    return Figure("data-juicer", documents, kept, seconds, documents / seconds, peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--documents", type=int, nargs="+", default=[100_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--peer", type=Path, help="dj-process of an environment with py-data-juicer")
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    figures = []
    for documents in options.documents:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            path = folder / "documents.jsonl"
            make_documents(options.texts, documents, path)
            print(f"{documents:,} documents, {path.stat().st_size / 2**20:.0f} MiB", flush=True)
            measured = [ours(path, folder, documents, options.workers)]
            print(_line(measured[0]), flush=True)
            if options.peer is not None:
                measured.append(peer(options.peer, path, folder, documents, options.workers))
                print(_line(measured[1]), flush=True)
            figures += measured
    if options.output is not None:
        options.output.write_text(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")


def _line(figure: Figure) -> str:
    return (
        f"{figure.program:12} {figure.seconds:8.1f} s  {figure.documents_per_second:9,.0f} documents/s  "
        f"{figure.peak_mib:7,.0f} MiB  {figure.kept:,} kept"
    )


if __name__ == "__main__":
    main()
