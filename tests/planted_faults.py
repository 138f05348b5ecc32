"""Plants faults into a data set and checks that a preparation finds every one of them.

    python tests/planted_faults.py data.jsonl      plants into a real set of instructions and prints what was found

:mod:`tests.data.test_planted_faults` does the same with a small made set.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import llmasos
from llmasos.data.output.catalogue import read_split
from llmasos.data.prepare import Prepared
from llmasos.library.store import Library

SENTENCES = (
    "Der Ausschuss hat gestern beschlossen, dass die neuen Regeln erst im nächsten Jahr gelten sollen.",
    "La commission a décidé hier que les nouvelles règles ne seront appliquées que l’année prochaine.",
    "委员会昨天决定，新的规定要到明年才会实施，而且所有国家都必须同意这些规定以及相关的财政安排。",
)
REASONS = {
    "broken line": {"broken_json"},
    "empty answer": {"empty_completion"},
    "wrong language": {"wrong_language", "language_not_certain"},
    "too long": {"too_long", "characters_too_many", "too_many_characters"},
    "exact duplicate": {"exact_duplicate"},
    "near duplicate": {"near_duplicate", "exact_duplicate"},
    "leaked test row": {"in_evaluation_set"},
}
"""What must reject each fault; mojibake and HTML are repaired instead."""


@dataclass
class Planted:
    """Lines of a file with faults, and what they should have become.

    Attributes:
        repaired: by number of the row, the texts that a fault was put into, as they were before.
        broken: lines that are no JSON.
    """

    lines: list[str]
    evaluation: list[dict[str, str]]
    faults: Counter[str] = field(default_factory=Counter)
    repaired: dict[str, dict[str, str]] = field(default_factory=dict)
    broken: set[int] = field(default_factory=set)


def plant(records: list[dict[str, str]], each: int, seed: int = 0) -> Planted:
    """Plant every fault ``each`` times into rows of instruction and output, spread over the file.

    Sixty records of middling length become the evaluation set and are taken out.
    """
    chance = random.Random(seed)
    long_rows = [record for record in records if 40 <= len(record["output"].split()) <= 120]
    evaluation, reserve = long_rows[-60:], long_rows[-60 - 2 * each : -60]
    taken = {id(record) for record in (*evaluation, *reserve)}
    good = [record for record in records if id(record) not in taken]
    planted = Planted([], evaluation)
    rows: list[tuple[str | None, dict[str, str]]] = [(None, dict(record)) for record in good]
    long_rows = long_rows[: -60 - 2 * each]

    def copy() -> dict[str, str]:
        return dict(chance.choice(long_rows))

    def add(fault: str, record: dict[str, str]) -> None:
        rows.append((fault, record))

    for number in range(each):
        broken = f"Café n° {number}: it’s naïve — déjà vu, {chance.random()}"
        add("mojibake", {**reserve.pop(), "instruction": broken.encode().decode("cp1252", "ignore"), "was": broken})
        plain = f"Explain item {number} & why {chance.random()} matters."
        marked = f"<div class='x'><p>{plain.replace('&', '&amp;')}</p><script>var a = {number};</script></div>"
        add("html", {**reserve.pop(), "instruction": marked, "was": plain})
        add("exact duplicate", dict(chance.choice(long_rows)))
        near = copy()
        words = near["output"].split(" ")
        words[chance.randrange(len(words))] = "moreover"
        add("near duplicate", {**near, "output": " ".join(words)})
        leaked = chance.choice(evaluation)
        add(
            "leaked test row",
            {"instruction": f"Question {number} of {chance.random()}.", "output": f"Well, {leaked['output']}"},
        )
        add("too long", {**copy(), "output": " ".join(chance.choice(words) for _ in range(2500))})
        add(
            "empty answer",
            {"instruction": f"Say nothing, {number} {chance.random()}.", "output": chance.choice(["", "  ", "\n"])},
        )
        foreign = SENTENCES[number % len(SENTENCES)]
        add("wrong language", {"instruction": foreign, "output": f"{foreign} {foreign[::2]} {chance.random()}"})
        add("broken line", {})
    # What is original comes first, so that the copy counts as the duplicate.
    tail = rows[len(good) :]
    chance.shuffle(tail)
    for number, (fault, record) in enumerate([*rows[: len(good)], *tail]):
        if fault is not None:
            planted.faults[fault] += 1
        if fault == "broken line":
            planted.broken.add(number + 1)
            planted.lines.append('{"instruction": "cut off in the midd')
            continue
        record["fault"] = fault or "none"
        was = record.pop("was", None)
        if was is not None:
            planted.repaired[str(number + 1)] = {"was": was, "fault": str(fault)}
        planted.lines.append(json.dumps(record, ensure_ascii=False))
    return planted


def recipe(folder: Path, most: int = 8000) -> dict[str, Any]:
    """The preparation that should find everything."""
    return {
        "kind": "data",
        "sources": [{
            "path": str(folder / "train.jsonl"), "name": "train", "metadata": ["fault"],
            "layout": {"kind": "prompt_completion", "prompt": "instruction", "completion": "output"},
        }],
        "steps": [
            {"step": "repair_unicode"},
            {"step": "remove_html"},
            {"step": "clean_whitespace"},
            {"step": "decontaminate", "against": [{"path": str(folder / "evaluation.jsonl")}]},
            {"step": "filter_length", "most": most},
            {"step": "filter_language", "languages": ["en"]},
            {"step": "exact_duplicates"},
            {"step": "near_duplicates"},
        ],
    }  # fmt: skip


def write(planted: Planted, folder: Path) -> None:
    (folder / "train.jsonl").write_text("\n".join(planted.lines) + "\n", encoding="utf-8")
    evaluation = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in planted.evaluation)
    (folder / "evaluation.jsonl").write_text(evaluation, encoding="utf-8")


@dataclass
class Outcome:
    """For every fault: how many were planted, how many were found, and what was not found."""

    found: Counter[str]
    missed: list[str]
    innocent: Counter[str]
    """Rows without a fault, or whose fault was repaired, that were rejected, by reason."""


def outcome(planted: Planted, prepared: Prepared) -> Outcome:
    """Compare what a preparation did with what was planted."""
    found: Counter[str] = Counter()
    innocent: Counter[str] = Counter()
    missed: list[str] = []
    texts: set[str] = set()
    library = Library()
    file = library.resolve(prepared.version.digest).manifest.files["rejected/rejected.jsonl.gz"]
    for line in gzip.decompress(library.blobs.read(file.digest)).splitlines():
        item = json.loads(line)
        if "raw" in item:
            name, number = item["origin"].rsplit(":", 1)
            if item["reason"] in REASONS["broken line"] and int(number) in planted.broken and name == "train.jsonl":
                found["broken line"] += 1
            continue
        fault = item["row"]["metadata"]["fault"]
        if fault in ("none", "mojibake", "html"):
            innocent[item["reason"]] += 1
            texts.add(item["row"]["sample"]["prompt"])
        elif item["reason"] in REASONS.get(fault, ()):
            found[fault] += 1
        else:
            missed.append(f"{fault}: rejected for {item['reason']}: {item['detail']}")
    for row in read_split(prepared.version.digest):
        fault = row.metadata["fault"]
        texts.add(row.sample.as_json()["prompt"])
        if fault in ("mojibake", "html"):
            continue
        if fault != "none":
            missed.append(f"{fault}: kept: {row.text()[:200]!r}")
    for item in planted.repaired.values():
        if item["was"] in texts:
            found[item["fault"]] += 1
        else:
            missed.append(f"{item['fault']}: not repaired to {item['was']!r}")
    return Outcome(found, missed, innocent)


def main() -> None:
    import tempfile

    source = Path(sys.argv[1])
    content = gzip.decompress(source.read_bytes()) if source.suffix == ".gz" else source.read_bytes()
    records = [
        {"instruction": f"{record['instruction']}\n\n{record.get('input', '')}".strip(), "output": record["output"]}
        for record in json.loads(content)
    ]
    planted = plant(records, each=50)
    with tempfile.TemporaryDirectory() as folder:
        write(planted, Path(folder))
        prepared = llmasos.prepare(recipe(Path(folder)))
    result = outcome(planted, prepared)
    for step in prepared.facts["steps"]:
        print(f"{step['name']:24}{step['rows_in']:8,}{step['rows_out']:8,}  {step['rejected']}")
    print(f"\n{'fault':20}{'planted':>8}{'found':>8}")
    for fault, count in planted.faults.items():
        print(f"{fault:20}{count:8}{result.found[fault]:8}")
    print("\nnot found:", *result.missed or ["nothing"], sep="\n  ")
    print("other rows that were rejected:", dict(result.innocent))


if __name__ == "__main__":
    main()
