"""Training runs of tiny models that take a second, for the tests of training."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import tiny_models
from llmasos import progress
from llmasos.library.store import Library
from llmasos.progress import Event
from llmasos.recipe import loading
from llmasos.recipe.document import Document
from llmasos.runs.context import RunContext
from llmasos.training.assembly import Parts, make_loop, open_parts
from llmasos.training.distributed.processes import Processes, join_processes
from llmasos.training.recipe.kinds import KINDS, Training
from llmasos.training.trainer.loop import Loop

WORDS = (
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "other",
    "animals",
    "look",
    "on",
    "and",
    "say",
    "hello",
)


def texts(count: int) -> list[str]:
    """Texts of different lengths, always the same."""
    return [
        " ".join(WORDS[(number * 7 + place * 3) % len(WORDS)] for place in range(3 + number % 9))
        for number in range(count)
    ]


def write_texts(path: Path, count: int = 40) -> Path:
    """A JSONL file of texts."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts(count)), encoding="utf-8")
    return path


def recipe(folder: Path, **changes: Any) -> Training:
    """A recipe that trains a tiny Llama on texts for 6 steps of 8 sequences; ``changes`` replace top-level keys.

    Args:
        folder: where model and data are made.
    """
    model = folder / "model"
    if not model.exists():
        tiny_models.build("llama", model)
    data = folder / "texts.jsonl"
    if not data.exists():
        write_texts(data)
    values: dict[str, Any] = {
        "kind": "pretrain",
        "model": str(model),
        "method": {"kind": "full", "learning_rate": 0.01},
        "data": {"train": [{"path": str(data)}], "validation_share": 0.2, "packing": {"kind": "none"}},
        "trainer": {
            "steps": 6,
            "batch_size": 8,
            "micro_batch_size": 2,
            "dtype": "float32",
            "device": "cpu",
            "threads": 1,
        },
        "evaluation": {"every": 3},
        "checkpoints": {"every": 2, "minutes": None, "keep_last": 9},
    }
    for key, value in changes.items():
        old = values.get(key)
        values[key] = (
            {**old, **value} if isinstance(old, dict) and isinstance(value, dict) and "kind" not in value else value
        )
    return loading.check(Document(values, "the recipe", {}), KINDS[values["kind"]])


@dataclass
class Recorder:
    """Keeps the events of a run."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def metrics(self, name: str) -> dict[int, float]:
        """A measure by step."""
        return {
            int(event.values["step"]): float(event.values[name])
            for event in self.events
            if event.kind == "metric" and name in event.values
        }

    def messages(self, level: str) -> list[str]:
        """What was logged at a level."""
        return [event.label for event in self.events if event.kind == "log" and event.values.get("level") == level]


def context(folder: Path, **changes: Any) -> RunContext:
    """A run in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    return RunContext("test", folder, recipe_folder=folder, **changes)


def open_loop(chosen: Training, run: RunContext, processes: Processes | None = None) -> tuple[Loop, Parts]:
    """The loop of a recipe before its first step."""
    group = processes or join_processes("cpu")
    parts = open_parts(chosen, run, group, Library())  # type: ignore[arg-type]
    return make_loop(chosen, run, group, parts), parts  # type: ignore[arg-type]


def run_loop(chosen: Training, run: RunContext, processes: Processes | None = None) -> tuple[Loop, Recorder]:
    """Run the loop of a recipe to its end."""
    recorder = Recorder()
    with progress.reporting(recorder):
        loop, _ = open_loop(chosen, run, processes)
        loop.run()
    return loop, recorder


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether tensors are equal bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
