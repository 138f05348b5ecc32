"""Training from a recipe to a version of the library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import llmasos
import tiny_models
import tiny_runs
from llmasos import progress
from llmasos.errors import IntegrityError, InvalidRecipe, OutOfMemory
from llmasos.runs.context import RunContext
from llmasos.training.checkpoint.snapshot import read_weights
from llmasos.training.run import TrainingResult, train
from llmasos.training.trainer.evaluation import Evaluator

pytestmark = pytest.mark.integration  # many processes


def run(recipe: Any, context: RunContext, *, stop_at: int | None = None) -> tuple[TrainingResult, tiny_runs.Recorder]:
    recorder = tiny_runs.Recorder()

    def stop(event: progress.Event) -> None:
        if event.kind == "metric" and event.values["step"] == stop_at and "loss" in event.values:
            context.ask_to_stop()

    with progress.reporting(recorder, stop):
        return train(recipe, context), recorder


def test_a_model_is_trained_published_and_used(tmp_path: Path) -> None:
    recipe = tiny_runs.recipe(tmp_path, output={"name": "my/tiny"})
    result, events = run(recipe, tiny_runs.context(tmp_path / "run"))
    assert result.outcome == "finished"
    assert result.steps == result.total_steps == 6
    assert result.after["loss"] < result.before["loss"]
    assert result.version is not None
    assert result.version.names == ("my/tiny:latest",)
    assert result.version.metadata.metrics["loss"] == result.after["loss"]
    assert [event.label for event in events.events if event.kind == "artefact"] == ["my/tiny:latest"]
    published = load_file(result.folder / "model.safetensors")
    checkpoint = read_weights(tmp_path / "run" / "checkpoints" / "step-00000006")
    assert tiny_runs.same({name: published[name] for name in checkpoint}, checkpoint)
    assert llmasos.load("my/tiny").generate("the quick", max_tokens=3).usage.completion_tokens >= 1


def test_the_best_step_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = Evaluator.evaluate

    def worse_after_three(self: Evaluator, module: Any, step: int) -> dict[str, float] | None:
        scores = evaluate(self, module, step)
        assert scores is not None
        return {**scores, "loss": scores["loss"] + 100 * (step > 3)}

    monkeypatch.setattr(Evaluator, "evaluate", worse_after_three)
    recipe = tiny_runs.recipe(tmp_path, evaluation={"every": 1}, checkpoints={"every": 100, "keep_last": 1})
    result, _ = run(recipe, tiny_runs.context(tmp_path / "run"))
    assert result.best_step is not None
    assert result.best_step <= 3
    published = load_file(result.folder / "model.safetensors")
    best = read_weights(tmp_path / "run" / "checkpoints" / f"step-{result.best_step:08d}")
    assert tiny_runs.same({name: published[name] for name in best}, best)
    last = read_weights(tmp_path / "run" / "checkpoints" / "step-00000006")
    assert not tiny_runs.same(best, last)


def test_the_moving_average_is_published(tmp_path: Path) -> None:
    result, _ = run(tiny_runs.recipe(tmp_path, trainer={"ema": 0.8}), tiny_runs.context(tmp_path / "run"))
    published = load_file(result.folder / "model.safetensors")
    folder = tmp_path / "run" / "checkpoints" / "step-00000006"
    average = load_file(folder / "average.safetensors")
    assert tiny_runs.same({name: published[name] for name in average}, average)
    assert not tiny_runs.same(average, load_file(folder / "weights.safetensors"))


@pytest.mark.parametrize("ema", [None, 0.8])
def test_a_cancelled_run_is_resumed_to_the_same_result(tmp_path: Path, ema: float | None) -> None:
    recipe = tiny_runs.recipe(tmp_path, trainer={"log_every": 1, "ema": ema}, checkpoints={"every": 100})
    whole, _ = run(recipe, tiny_runs.context(tmp_path / "whole"))
    first, _ = run(recipe, tiny_runs.context(tmp_path / "parts"), stop_at=3)
    assert first.outcome == "cancelled"
    assert first.version is None
    assert first.folder == tmp_path / "parts" / "checkpoints" / "step-00000003"
    assert first.after == {}
    second, events = run(recipe, tiny_runs.context(tmp_path / "parts", resume=True))
    assert second.outcome == "finished"
    assert min(events.metrics("loss")) == 4
    assert second.tokens == whole.tokens
    assert second.after == whole.after
    assert second.before == whole.before
    same = [load_file(result.folder / "model.safetensors") for result in (whole, second)]
    assert tiny_runs.same(*same)


def test_a_run_that_ended_before_it_published_publishes_only(tmp_path: Path) -> None:
    recipe = tiny_runs.recipe(tmp_path)
    first, _ = run(recipe, tiny_runs.context(tmp_path / "run"))
    again, events = run(recipe, tiny_runs.context(tmp_path / "run", resume=True))
    assert events.metrics("loss") == {}
    assert again.after == first.after
    assert tiny_runs.same(*(load_file(result.folder / "model.safetensors") for result in (first, again)))


def test_a_run_without_checkpoint_begins_at_the_start(tmp_path: Path) -> None:
    result, events = run(tiny_runs.recipe(tmp_path), tiny_runs.context(tmp_path / "run", resume=True))
    assert result.steps == 6
    assert any("no checkpoint yet" in message for message in events.messages("warning"))


def test_a_run_does_not_go_on_with_other_keys_or_data(tmp_path: Path) -> None:
    context = tiny_runs.context(tmp_path / "run", resume=True)
    run(tiny_runs.recipe(tmp_path), context)
    with pytest.raises(InvalidRecipe, match=r"schedule\.kind"):
        run(tiny_runs.recipe(tmp_path, schedule={"kind": "linear"}), context)
    tiny_runs.write_texts(tmp_path / "texts.jsonl", 41)
    with pytest.raises(InvalidRecipe, match="the data have changed since the run was started: train, validation"):
        run(tiny_runs.recipe(tmp_path), context)


def test_damaged_checkpoints_are_told_of_and_passed_over(tmp_path: Path) -> None:
    recipe = tiny_runs.recipe(tmp_path)
    whole, _ = run(recipe, tiny_runs.context(tmp_path / "run"))
    expected = load_file(whole.folder / "model.safetensors")
    folder = tmp_path / "run" / "checkpoints"
    (folder / "step-00000006" / "optimizer.safetensors").write_bytes(b"")
    again, events = run(recipe, tiny_runs.context(tmp_path / "run", resume=True))
    assert ["step-00000006" in message for message in events.messages("warning") if "damaged" in message] == [True]
    assert tiny_runs.same(load_file(again.folder / "model.safetensors"), expected)
    for path in folder.iterdir():
        (path / "state.json").write_text("{}")
    with pytest.raises(IntegrityError, match="all 4 checkpoints"):
        run(recipe, tiny_runs.context(tmp_path / "run", resume=True))


def test_weights_that_are_not_trained_stay_as_they_were_to_the_last_bit(tmp_path: Path) -> None:
    """Though the run computes in bfloat16, which the model's float32 weights do not fit."""
    recipe = tiny_runs.recipe(
        tmp_path, method={"kind": "freeze", "last_layers": 1, "learning_rate": 0.01}, trainer={"dtype": "bfloat16"}
    )
    result, _ = run(recipe, tiny_runs.context(tmp_path / "run"))
    before = load_file(tmp_path / "model" / "model.safetensors")
    after = load_file(result.folder / "model.safetensors")
    trained = read_weights(tmp_path / "run" / "checkpoints" / "step-00000006")
    assert 0 < len(trained) < len(before)
    assert tiny_runs.same({name: after[name] for name in trained}, trained)
    kept = [name for name in before if name not in trained]
    assert all(torch.equal(after[name], before[name]) for name in kept)
    assert any(not torch.equal(before[name], before[name].bfloat16().float()) for name in kept)


def test_what_does_not_fit_is_refused_before_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmasos.training.preflight.memory.available_memory", lambda device: 1000)
    recipe = tiny_runs.recipe(tmp_path)
    monkeypatch.setattr("llmasos.training.preflight.memory.PROGRAM", 0)
    with pytest.raises(OutOfMemory):
        run(recipe, tiny_runs.context(tmp_path / "run"))
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_program_that_trains_keeps_its_generators_and_threads(tmp_path: Path) -> None:
    recipe = tiny_runs.recipe(tmp_path, trainer={"threads": 2})
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    run(recipe, tiny_runs.context(tmp_path / "run"))
    assert torch.equal(torch.rand(1), expected)
    assert torch.get_num_threads() == threads


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_classifier_is_trained_and_used(tmp_path: Path) -> None:
    texts = tiny_runs.texts(60)
    rows = [
        {"text": f"{text} {'great' if number % 2 else 'terrible'}", "label": "good" if number % 2 else "bad"}
        for number, text in enumerate(texts)
    ]
    tiny_models.build("bert_classifier", tmp_path / "model")
    recipe = tiny_runs.recipe(
        tmp_path,
        kind="classify",
        data={
            "train": [
                {
                    "path": str(write_rows(tmp_path / "rows.jsonl", rows)),
                    "layout": {"kind": "label", "text": "text", "label": "label"},
                }
            ],
            "validation_share": 0.25,
        },
        trainer={"steps": 120},
        evaluation={"every": 60, "metric": "accuracy"},
        output={"name": "my/classifier"},
    )
    result, _ = run(recipe, tiny_runs.context(tmp_path / "run"))
    assert result.after["accuracy"] >= 0.9
    assert result.version is not None
    model = llmasos.load("my/classifier")
    assert model.classify("the quick brown fox great").label == "good"


def test_an_encoder_decoder_is_trained(tmp_path: Path) -> None:
    rows = [{"source": text, "target": " ".join(reversed(text.split()))} for text in tiny_runs.texts(40)]
    tiny_models.build("t5", tmp_path / "model")
    recipe = tiny_runs.recipe(
        tmp_path,
        kind="seq2seq",
        data={
            "train": [
                {
                    "path": str(write_rows(tmp_path / "rows.jsonl", rows)),
                    "layout": {"kind": "parallel", "source": "source", "target": "target"},
                }
            ],
            "validation_share": 0.25,
        },
        trainer={"steps": 12},
        evaluation={"samples": 1, "sample_tokens": 4},
    )
    result, events = run(recipe, tiny_runs.context(tmp_path / "run"))
    assert result.after["loss"] < result.before["loss"]
    assert [event for event in events.events if event.kind == "sample"]
    assert result.version is not None
    assert result.version.metadata.kind == "model"
