"""From recipes to batches: what is learned, in which batches, and the account of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_models
from llmasos.data.batches import IGNORED, Batch
from llmasos.data.token_cache import TokenCache
from llmasos.errors import ContextLengthExceeded, InvalidRecipe, InvalidRequest
from llmasos.library.store import Library
from llmasos.training.batches import ClassBatch, PairBatch, TransferBatch, ids_of, tokens_of
from llmasos.training.feeding import Feeds, feed
from llmasos.training.opening import OpenedModel, open_model
from llmasos.training.recipe.kinds import KINDS, TrainingRecipe
from llmasos.training.rows import read_rows


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in ("llama", "qwen2", "bert_classifier", "t5"):
        tiny_models.build(name, folder / name)
    return folder


class Feeder:
    """Feeds a recipe over rows that are written to a file."""

    def __init__(self, models: Path, folder: Path) -> None:
        self._models = models
        self._folder = folder

    def __call__(
        self, kind: str, model: str, rows: Sequence[dict[str, Any]], *, rank: int = 0, world: int = 1, **keys: Any
    ) -> tuple[Feeds, OpenedModel]:
        path = self._folder / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        data = {"train": [{"path": str(path)}], **keys.pop("data", {})}
        raw = {"kind": kind, "model": str(self._models / model), "data": data, **keys}
        recipe: TrainingRecipe = KINDS[kind].model_validate(raw)  # type: ignore[assignment]
        found = read_rows(recipe.data, seed=recipe.seed)
        opened = open_model(recipe, rows=found.train.rows, device="cpu", library=Library(self._folder / "home"))
        cache = TokenCache(self._folder / "tokens")
        return feed(recipe, opened, found, cache=cache, rank=rank, world=world), opened


@pytest.fixture
def feeder(models: Path, tmp_path: Path) -> Feeder:
    return Feeder(models, tmp_path)


def conversations(count: int) -> list[dict[str, Any]]:
    return [
        {"instruction": f"Say {number}", "input": "", "output": "fox " * (number % 6 + 1)} for number in range(count)
    ]


def test_conversations_are_packed_and_all_learned_once(feeder: Feeder) -> None:
    feeds, opened = feeder("sft", "llama", conversations(30), trainer={"batch_size": 2})
    account = feeds.train_account
    batches = [batch for step in range(feeds.train.steps) for batch in feeds.train.of_step(step, epoch=0)]
    learned = sum(int(np.count_nonzero(batch.labels != IGNORED)) for batch in batches if isinstance(batch, Batch))
    assert learned == account.trained == account.rendering.trained > 0
    assert sum(tokens_of(batch)[0] for batch in batches) == account.tokens
    assert account.sequences < 30
    assert sorted(
        row for step in range(feeds.train.steps) for rows in feeds.train.rows_of_step(step, epoch=0) for row in rows
    ) == list(range(30))
    assert opened.packable
    assert account.places == account.tokens
    answers = opened.renderer.tokenizer.decode([int(i) for i in batches[0].labels[batches[0].labels != IGNORED]])  # type: ignore[union-attr]
    assert "fox" in answers
    assert "Say" not in answers


def test_epochs_hold_the_same_rows_in_another_order(feeder: Feeder) -> None:
    feeds, _ = feeder("sft", "llama", conversations(30), data={"packing": {"kind": "none"}}, trainer={"batch_size": 4})
    first, second = (
        [
            row
            for step in range(feeds.train.steps)
            for rows in feeds.train.rows_of_step(step, epoch=epoch)
            for row in rows
        ]
        for epoch in (0, 1)
    )
    assert sorted(first) == sorted(second)
    assert first != second


def test_processes_share_a_step_and_the_last_is_filled_up(feeder: Feeder) -> None:
    keys = {"data": {"packing": {"kind": "none"}}, "trainer": {"batch_size": 4, "micro_batch_size": 2}}
    whole, _ = feeder("sft", "llama", conversations(5), **keys)
    shares = [feeder("sft", "llama", conversations(5), rank=rank, world=2, **keys)[0] for rank in range(2)]
    assert len(shares[0].train) == len(shares[1].train) == 2
    for step in range(2):
        expected = sorted(row for rows in whole.train.rows_of_step(step, epoch=0) for row in rows)
        counted = [
            row
            for share in shares
            for batch, rows in zip(
                share.train.of_step(step, epoch=0), share.train.rows_of_step(step, epoch=0), strict=True
            )
            if isinstance(batch, Batch) and batch.trained_count
            for row in rows
        ]
        assert sorted(counted) == expected


def test_long_texts_for_pretraining_lose_no_token(feeder: Feeder) -> None:
    rows = [{"text": "The quick brown fox. " * (10 * number + 1)} for number in range(5)]
    feeds, opened = feeder("pretrain", "qwen2", rows, data={"sequence_length": 16})
    tokenizer = opened.renderer.tokenizer
    whole = sum(len(tokenizer.encode(row["text"]).ids) for row in rows)
    ends = len(rows)
    assert feeds.train_account.trained == whole + ends - len(rows)  # the first token of a text follows nothing
    assert feeds.train_account.capacity == 16
    assert feeds.train_account.rendering.divided == 4
    assert max(batch.ids.shape[1] for batch in feeds.train.of_step(0, epoch=0) if isinstance(batch, Batch)) <= 16


def test_classes_are_those_of_the_rows_or_of_the_recipe(feeder: Feeder) -> None:
    rows = [{"text": "the quick " * (number % 4 + 1), "label": ["b", "a", "c"][number % 3]} for number in range(10)]
    feeds, opened = feeder("classify", "bert_classifier", rows, trainer={"batch_size": 5})
    assert opened.labels == ("a", "b", "c")
    assert feeds.class_counts == (3, 4, 3)
    batch = feeds.train.of_step(0, epoch=0)[0]
    assert isinstance(batch, ClassBatch)
    rows_read = feeds.train.rows_of_step(0, epoch=0)[0]
    assert [opened.labels[number] for number in batch.classes] == [rows[row]["label"] for row in rows_read]
    _, opened = feeder("classify", "bert_classifier", rows, labels=["c", "b", "a"])
    assert opened.labels == ("c", "b", "a")


def test_labels_that_do_not_fit_are_refused(feeder: Feeder) -> None:
    rows = [{"text": f"the quick {number}", "label": "ab"[number % 2]} for number in range(10)]
    with pytest.raises(InvalidRequest, match="no training row has the label 'c'"):
        feeder("classify", "bert_classifier", rows, labels=["a", "b", "c"])
    with pytest.raises(InvalidRequest, match=r"5 row\(s\) have a label that is not among the classes.*'b'"):
        feeder("classify", "bert_classifier", rows, labels=["a", "c"])
    with pytest.raises(InvalidRequest, match="at least 2 classes"):
        feeder("classify", "bert_classifier", [{"text": "x", "label": "a"}])
    with pytest.raises(InvalidRecipe, match="labels names 'a' twice"):
        feeder("classify", "bert_classifier", rows, labels=["a", "b", "a"])


def test_a_validation_label_that_training_does_not_know(feeder: Feeder, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"text": "brown fox", "label": "z"}\n')
    rows = [{"text": f"the quick {number}", "label": "ab"[number % 2]} for number in range(10)]
    with pytest.raises(InvalidRequest, match=r"validation: 1 row.*label 'z'"):
        feeder("classify", "bert_classifier", rows, data={"validation": [{"path": str(other)}]})


def test_pairs_of_answers_and_of_languages(feeder: Feeder) -> None:
    pairs = [{"prompt": "Say x", "chosen": "fox " * (n % 3 + 1), "rejected": "dog"} for n in range(6)]
    feeds, opened = feeder("reward", "llama", pairs, trainer={"batch_size": 3})
    batch = feeds.train.of_step(0, epoch=0)[0]
    assert isinstance(batch, PairBatch)
    assert batch.counted.all()
    assert len(batch.chosen.ids) == len(batch.rejected.ids) == 3
    assert "dog" in opened.renderer.tokenizer.decode(ids_of(batch)[-1])
    texts = [{"source": "The house.", "target": "La maison est " * (n % 3 + 1)} for n in range(6)]
    feeds, opened = feeder("seq2seq", "t5", texts, trainer={"batch_size": 3})
    transfer = feeds.train.of_step(0, epoch=0)[0]
    assert isinstance(transfer, TransferBatch)
    assert transfer.target.labels[transfer.target.documents > 0].min() >= 0
    assert feeds.train_account.places > feeds.train_account.tokens


def test_a_batch_that_does_not_count_learns_nothing(feeder: Feeder) -> None:
    feeds, _ = feeder("sft", "llama", conversations(3))
    batch = feeds.train.of_step(0, epoch=0)[0]
    assert isinstance(batch, Batch)
    assert batch.uncounted().trained_count == 0
    assert (batch.uncounted().ids == batch.ids).all()


@pytest.mark.parametrize(("policy", "left", "note"), [("drop", 2, "too long"), ("truncate", 3, "cut")])
def test_rows_that_are_too_long_follow_the_policy_and_are_counted(
    feeder: Feeder, policy: str, left: int, note: str
) -> None:
    rows = [*conversations(2), {"instruction": "Say", "input": "", "output": "quick brown fox " * 60}]
    data = {"rendering": {"max_length": 60, "overlong": {"kind": policy}}}
    feeds, _ = feeder("sft", "llama", rows, data=data)
    assert feeds.train_account.rendering.samples == left
    assert any(note in text for text in feeds.notes)


def test_a_row_that_is_too_long_stops_if_the_recipe_says_so(feeder: Feeder) -> None:
    data = {"rendering": {"max_length": 20, "overlong": {"kind": "error"}}}
    with pytest.raises(ContextLengthExceeded, match=r"rows.jsonl:1"):
        feeder("sft", "llama", conversations(2), data=data)


def test_nothing_to_learn_is_refused(feeder: Feeder) -> None:
    silent = [{"messages": [{"role": "user", "content": "hello"}, {"role": "user", "content": "you"}]}]
    with pytest.raises(InvalidRequest, match=r"no sample is left.*no token to learn"):
        feeder("sft", "llama", silent)
    with pytest.raises(InvalidRequest, match=r"no sample is left.*too long"):
        feeder("sft", "llama", conversations(2), data={"rendering": {"max_length": 8}})


def test_kinds_of_rows_that_a_recipe_cannot_learn(feeder: Feeder) -> None:
    labels = [{"text": "x", "label": "a"}, {"text": "y", "label": "b"}]
    with pytest.raises(InvalidRecipe, match=r"kind seq2seq cannot learn from rows of kind label"):
        feeder("seq2seq", "t5", labels)
    with pytest.raises(InvalidRecipe, match=r"rows of kind label are rendered as class"):
        feeder("sft", "llama", labels)
    feeds, _ = feeder("sft", "llama", labels, data={"rendering": {"labels": {"kind": "answer"}}})
    assert feeds.train_account.rendering.samples == 2


def test_samples_for_generation(feeder: Feeder) -> None:
    feeds, opened = feeder("sft", "llama", conversations(20), data={"validation_share": 0.2}, evaluation={"samples": 2})
    assert len(feeds.samples) == 2
    for sample in feeds.samples:
        assert "fox" in sample.expected
        assert "Say" in sample.text
        assert "fox" not in sample.text
        assert opened.renderer.tokenizer.decode(sample.prompt.tolist()) == sample.text
    with pytest.raises(InvalidRecipe, match=r"evaluation.samples = 2"):
        feeder("sft", "llama", conversations(20), evaluation={"samples": 2})


def test_origins_of_rows(feeder: Feeder) -> None:
    feeds, _ = feeder("sft", "llama", conversations(5))
    assert feeds.origins([3, 0]) == ["rows.jsonl:4", "rows.jsonl:1"]


def test_validation_is_read_in_a_fixed_order(feeder: Feeder) -> None:
    feeds, _ = feeder("sft", "llama", conversations(30), data={"validation_share": 0.3, "packing": {"kind": "none"}})
    assert feeds.validation is not None
    assert feeds.validation_account is not None
    first = [ids_of(batch) for batch in feeds.validation.all()]
    assert first == [ids_of(batch) for batch in feeds.validation.all()]
    assert sum(map(len, first)) == feeds.validation_account.rendering.samples
