"""What is measured of the examples' results, on data that took no part in training."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Measure = Callable[[Any, Path], float]
"""From a loaded model and the folder of the data to a number."""

SENTIMENT = ("negative", "positive")
REVIEW = "Is this part of a film review positive or negative?\n\n{text}"
CHUNK = 64
"""Texts that are worked on together."""


@dataclass(frozen=True)
class Example:
    """A recipe of this folder and what counts in it.

    Attributes:
        measure: name of the number, for the table; ``loss``: that of the run's own validation.
        data: what it is measured on, for the table.
        function: how it is measured; ``None`` for the loss.
        base: whether the model can be measured before training too.
    """

    name: str
    measure: str
    data: str
    function: Measure | None = None
    base: bool = False


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a TSV file with a line of names."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def lines(path: Path) -> list[str]:
    """The lines of a text file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [line.rstrip("\n") for line in file]


def accuracy(found: list[str], expected: list[str]) -> float:
    """Share of right answers."""
    assert len(found) == len(expected) > 0
    return sum(one == other for one, other in zip(found, expected, strict=True)) / len(expected)


def sst2_classes(model: Any, data: Path) -> float:
    """Accuracy of a classifier on the 872 sentences that GLUE calls the development set."""
    test = rows(data / "sst2" / "test.tsv")
    found = model.classify([row["sentence"] for row in test], truncate="end")
    return accuracy([item.label for item in found], [SENTIMENT[int(row["label"])] for row in test])


def sst2_answers(model: Any, data: Path) -> float:
    """Accuracy of answers to a question about each of the 872 sentences."""
    test = rows(data / "sst2" / "test.tsv")
    prompts = [[{"role": "user", "content": REVIEW.format(text=row["sentence"])}] for row in test]
    found = answers(model, prompts, max_tokens=6)
    return accuracy([text.strip().lower() for text in found], [SENTIMENT[int(row["label"])] for row in test])


def tnews_classes(model: Any, data: Path) -> float:
    """Accuracy of a classifier on the 10,000 headlines of the development set."""
    with (data / "tnews" / "dev.tsv").open(encoding="utf-8") as file:
        pairs = [line.rstrip("\n").rsplit("\t", 1) for line in file]
    found = model.classify([text for text, _ in pairs], truncate="end")
    return accuracy([item.label for item in found], [label for _, label in pairs])


def gsm8k(model: Any, data: Path, *, count: int = 500, max_tokens: int = 256) -> float:
    """Share of right results among the first problems of the test set."""
    with (data / "gsm8k" / "test.jsonl").open(encoding="utf-8") as file:
        problems = [json.loads(line) for line in file][:count]
    prompts = [[{"role": "user", "content": item["question"]}] for item in problems]
    found = answers(model, prompts, max_tokens=max_tokens)
    return accuracy([last_number(text) for text in found], [last_number(item["answer"]) for item in problems])


def last_number(text: str) -> str:
    """The number after ``####``, else the last one."""
    numbers = re.findall(r"-?\d[\d,]*(?:\.\d+)?", text.rpartition("####")[2]) or re.findall(r"-?\d[\d,]*", text)
    return str(numbers[-1]).replace(",", "").removesuffix(".0").removesuffix(".00") if numbers else ""


def multi30k(model: Any, data: Path, *, max_tokens: int = 96) -> float:
    """BLEU of the German translations of the 1,000 captions of test_2016_flickr."""
    from sacrebleu import corpus_bleu

    folder = data / "multi30k"
    sources, references = lines(folder / "test_2016_flickr.en.gz"), lines(folder / "test_2016_flickr.de.gz")
    found: list[str] = []
    for start in range(0, len(sources), CHUNK):
        found += [item.text for item in model.generate(sources[start : start + CHUNK], max_tokens=max_tokens)]
    return float(corpus_bleu(found, [references]).score)


def answers(model: Any, conversations: list[list[dict[str, str]]], *, max_tokens: int) -> list[str]:
    """What a model answers, without chance."""
    found: list[str] = []
    for start in range(0, len(conversations), CHUNK):
        part = conversations[start : start + CHUNK]
        found += [item.text for item in model.chat(part, max_tokens=max_tokens, temperature=0.0)]
    return found


_SST2 = "SST-2, 872 sentences"
_MULTI30K = "Multi30k, test_2016_flickr"

EXAMPLES: dict[str, Example] = {
    example.name: example
    for example in (
        Example("sst2-full", "accuracy", _SST2, sst2_classes),
        Example("sst2-freeze", "accuracy", _SST2, sst2_classes),
        Example("sst2-lora", "accuracy", _SST2, sst2_classes),
        Example("sst2-prompt-tuning", "accuracy", _SST2, sst2_classes),
        Example("tnews", "accuracy", "TNEWS, dev", tnews_classes),
        Example("tnews-scratch", "accuracy", "TNEWS, dev", tnews_classes),
        Example("tinyshakespeare", "loss", "last tenth of the text"),
        Example("sft-smollm2", "accuracy", "GSM8K, 500 problems", gsm8k, base=True),
        Example("multi30k-opus", "BLEU", _MULTI30K, multi30k, base=True),
        Example("multi30k-scratch", "BLEU", _MULTI30K, multi30k),
        Example("answers-lora", "accuracy", _SST2, sst2_answers, base=True),
        Example("answers-prompt-tuning", "accuracy", _SST2, sst2_answers, base=True),
    )
}
"""By name, in the order of the table."""
