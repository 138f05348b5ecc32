"""The examples with little data of our own and few steps: they learn, and the library serves what they make."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tiny_models
from llmasos.library.acquire import import_path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

DATA = Path(__file__).parent / "data"
SHORT = ["trainer.epochs=null", "trainer.threads=1", "checkpoints.minutes=null", "checkpoints.keep_last=1"]


def ran(run: ModuleType, measures: ModuleType, name: str, *changes: str) -> dict[str, Any]:
    row: dict[str, Any] = run.run(measures.EXAMPLES[name], DATA, [*SHORT, *changes])
    assert row["seconds"] > 0
    assert row["memory_bytes"] > 2**26
    assert row["tokens_per_second"] == pytest.approx(row["tokens"] / row["seconds"])
    return row


def named(folder: Path, family: str) -> str:
    """A tiny model in the library, where adapters can name it."""
    tiny_models.build(family, folder / family)
    import_path(folder / family, name=f"tiny/{family}:v1")
    return f"tiny/{family}:v1"


def test_opinions(run: ModuleType, measures: ModuleType) -> None:
    """Four methods side by side, with the real model."""
    for name, steps, least in (("sst2-full", 40, 0.9), ("sst2-freeze", 40, 0.85), ("sst2-lora", 40, 0.85),
                               ("sst2-prompt-tuning", 60, 0.7)):  # fmt: skip
        row = ran(run, measures, name, f"trainer.steps={steps}", "trainer.batch_size=16", "evaluation.every=20")
        assert row["after"] >= least, name
        assert row["loss_after"] < row["loss_before"], name


def test_topics_from_random_weights(run: ModuleType, measures: ModuleType) -> None:
    row = ran(run, measures, "tnews-scratch", "trainer.steps=120", "trainer.batch_size=16", "model.preset=bert-tiny",
              "data.validation_share=0.1", "evaluation.every=20")  # fmt: skip
    assert row["after"] >= 0.7


def test_topics_with_a_model_that_writes(run: ModuleType, measures: ModuleType, tmp_path: Path) -> None:
    """The tiny model's tokenizer knows no Chinese, so it can learn nothing; the recipe runs and its result serves."""
    model = named(tmp_path, "gemma3")
    row = ran(run, measures, "tnews", f"model={model}", "trainer.steps=10", "trainer.batch_size=16",
              "data.train_limit=80", "data.validation_share=0.1", "evaluation.every=10")  # fmt: skip
    assert row["steps"] == 10
    assert 0 < row["loss_after"] < 2  # three classes: guessing is 1.1


def test_letters(run: ModuleType, measures: ModuleType) -> None:
    row = ran(run, measures, "tinyshakespeare", "trainer.steps=150", "evaluation.every=50", "schedule.warmup=20",
              "method.learning_rate=0.003")  # fmt: skip
    assert row["before"] > 3
    assert row["after"] < 1.0  # a small grammar: far easier than Shakespeare


def test_translation_from_random_weights(run: ModuleType, measures: ModuleType) -> None:
    row = ran(run, measures, "multi30k-scratch", "trainer.steps=150", "trainer.batch_size=32", "schedule.warmup=30",
              "evaluation.every=50", "model.tokenizer.vocabulary_size=260", "model.layers=2",
              "model.hidden_size=128", "model.dropout=0.0")  # fmt: skip
    assert row["after"] > 60


@pytest.mark.parametrize("name", ["answers-lora", "answers-prompt-tuning"])
def test_answers(run: ModuleType, measures: ModuleType, tmp_path: Path, name: str) -> None:
    model = named(tmp_path, "llama")
    example = measures.Example(name, "accuracy", "opinions of our own", measures.sst2_answers)
    row = run.run(example, DATA, [*SHORT, f"model={model}", "trainer.steps=30", "trainer.batch_size=8",
                                  "data.validation_limit=20", "method.learning_rate=0.03"])  # fmt: skip
    assert row["loss_after"] < row["loss_before"]


def test_instructions_and_sums(run: ModuleType, measures: ModuleType, tmp_path: Path) -> None:
    """A random model learns nothing worth scoring here: that the loss falls and the adapter answers is what counts."""
    model = named(tmp_path, "llama")
    short = partial(measures.gsm8k, max_tokens=32)
    example = measures.Example("sft-smollm2", "accuracy", "problems of our own", short)
    row = run.run(example, DATA, [*SHORT, f"model={model}", "trainer.steps=20", "data.rendering={}",
                                  "method.learning_rate=0.01", "data.validation_share=0.1"])  # fmt: skip
    assert row["loss_after"] < row["loss_before"]


def test_a_translator_learns_another_language(run: ModuleType, measures: ModuleType, tmp_path: Path) -> None:
    model = named(tmp_path, "marian")
    short = partial(measures.multi30k, max_tokens=40)
    example = measures.Example("multi30k-opus", "BLEU", "sentences of our own", short)
    row = run.run(example, DATA, [*SHORT, f"model={model}", "trainer.steps=30", "trainer.batch_size=8",
                                  "evaluation.every=15", "method.learning_rate=0.003",
                                  "data.rendering={max_length: 60}"])  # fmt: skip
    assert row["loss_after"] < row["loss_before"]
    assert 0 <= row["after"] <= 100
