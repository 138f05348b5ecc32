"""The loop: what is learned does not depend on how steps are divided, interrupted or watched."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_runs
from evaluation_cases import choice_task, perplexity_task
from llmasos.errors import InvalidRecipe, NotFinite, NotFound, OutOfDisk
from llmasos.evaluation.options import RunOptions
from llmasos.evaluation.periodic import evaluate_module
from llmasos.training.checkpoint.snapshot import Snapshot
from llmasos.training.objectives.causal import CausalObjective
from llmasos.training.objectives.objective import LossSum
from llmasos.training.trainer.tasks import TaskMeasures

pytestmark = pytest.mark.integration  # by its time: seconds, not milliseconds


def weights_of(loop: Any) -> dict[str, torch.Tensor]:
    return {name: master.detach().clone() for name, master in loop.weights.masters().items()}


def differs(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def test_training_learns_and_reports(tmp_path: Path) -> None:
    loop, events = tiny_runs.run_loop(
        tiny_runs.recipe(tmp_path, trainer={"steps": 12, "log_every": 4}), tiny_runs.context(tmp_path / "run")
    )
    assert loop.step == loop.steps == 12
    losses = events.metrics("loss")
    assert list(losses) == [1, 4, 8, 12]
    assert losses[12] < losses[1] - 0.3
    assert list(events.metrics("eval_loss")) == [0, 3, 6, 9, 12]
    assert loop.scores[12]["loss"] < loop.scores[0]["loss"]
    tokens = events.metrics("tokens")
    assert list(tokens.values()) == sorted(tokens.values())
    for name in ("learning_rate", "gradient_norm", "tokens_per_second", "mfu", "memory_bytes", "eta_seconds", "epoch"):
        assert all(math.isfinite(value) and value >= 0 for value in events.metrics(name).values()), name
    assert events.metrics("epoch")[12] == 3.0


def test_accumulation_does_not_change_what_is_learned(tmp_path: Path) -> None:
    """1 x 8 = 2 x 4 = 8 x 1, though the sequences have different lengths."""
    found, logged = [], []
    for micro in (8, 4, 1):
        loop, events = tiny_runs.run_loop(
            tiny_runs.recipe(tmp_path, trainer={"micro_batch_size": micro, "log_every": 1}, optimizer={"kind": "sgd"}),
            tiny_runs.context(tmp_path / f"run-{micro}"),
        )
        found.append(weights_of(loop))
        logged.append(events.metrics("loss"))
    for weights, losses in zip(found[1:], logged[1:], strict=True):
        assert differs(weights, found[0]) < 1e-6
        assert losses == pytest.approx(logged[0], abs=1e-5)


@pytest.mark.parametrize("changes", [
    {},
    {"optimizer": {"kind": "muon"}, "schedule": {"kind": "wsd", "warmup": 2}, "trainer": {"ema": 0.9, "neftune": 5}},
    {"optimizer": {"kind": "adamw-8bit"}, "trainer": {"dtype": "bfloat16"}},
    {"method": {"kind": "freeze", "last_layers": 0, "unfreeze_every": 2, "learning_rate": 0.01}},
    {"method": {"kind": "freeze", "last_layers": 0, "unfreeze_every": 2, "learning_rate": 0.01},
     "trainer": {"dtype": "bfloat16"}},
    {"optimizer": {"kind": "adamw-8bit"}, "trainer": {"dtype": "bfloat16", "weights_dtype": "bfloat16"}},
    {"method": {"kind": "lora", "rank": 4, "dropout": 0.2, "learning_rate": 0.01}, "optimizer": {"kind": "adafactor"}},
], ids=["plain", "muon-ema-neftune", "8bit-bfloat16", "gradual", "gradual-bfloat16", "8bit-all-bfloat16",
        "lora-dropout"])  # fmt: skip
def test_a_run_that_was_stopped_equals_one_that_was_not(tmp_path: Path, changes: dict[str, Any]) -> None:
    every = {"log_every": 1 if changes else 4}
    recipe = tiny_runs.recipe(tmp_path, **{**changes, "trainer": {**every, **changes.get("trainer", {})}})
    whole, events = tiny_runs.run_loop(recipe, tiny_runs.context(tmp_path / "whole"))
    parts: dict[int, float] = {}
    for stop in (2, 4, None):  # it is stopped within the evaluation at step 3, and after step 5
        run = tiny_runs.context(tmp_path / "parts")
        loop, _ = tiny_runs.open_loop(recipe, run)
        snapshot = loop.store.newest(lambda error: pytest.fail(str(error)))
        if snapshot is not None:
            loop.restore(snapshot)
        seen = tiny_runs.Recorder()
        with tiny_runs.progress.reporting(seen, stopping(run, stop)):
            ending = loop.run()
        assert ending == ("finished" if stop is None else "cancelled")
        parts |= seen.metrics("loss")
    assert parts == events.metrics("loss")
    last, again = Snapshot.read(whole.store.path(6)), Snapshot.read(loop.store.path(6))
    assert tiny_runs.same(dict(last.weights), dict(again.weights))
    assert tiny_runs.same(dict(last.optimizer), dict(again.optimizer))
    assert last.state.optimizer == again.state.optimizer
    assert tiny_runs.same(dict(last.average or {}), dict(again.average or {}))
    assert last.state.scores == again.state.scores
    assert last.state.tokens == again.state.tokens
    assert last.state.best == again.state.best


@pytest.mark.parametrize("at", [0, 3, 6])
def test_a_run_stopped_within_an_evaluation_does_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    recipe = tiny_runs.recipe(tmp_path, evaluation={"every": 3, "early_stopping": {"patience": 5}})
    whole, _ = tiny_runs.run_loop(recipe, tiny_runs.context(tmp_path / "whole"))
    run = tiny_runs.context(tmp_path / "parts")
    loop, _ = tiny_runs.open_loop(recipe, run)
    original = CausalObjective.measure

    def measure(self: CausalObjective, module: Any, batch: Any) -> Any:
        if loop.step == at:
            run.ask_to_stop()
        return original(self, module, batch)

    monkeypatch.setattr(CausalObjective, "measure", measure)
    assert loop.run() == "cancelled"
    monkeypatch.undo()
    assert loop.step == at
    assert at not in loop.scores
    again, _ = tiny_runs.open_loop(recipe, tiny_runs.context(tmp_path / "parts"))
    snapshot = again.store.newest(lambda error: pytest.fail(str(error)))
    assert snapshot is not None
    again.restore(snapshot)
    assert again.run() == "finished"
    assert again.scores == whole.scores
    assert again.best == whole.best
    assert tiny_runs.same(weights_of(again), weights_of(whole))


def stopping(run: Any, step: int | None) -> Any:
    """A listener that asks the run to stop when a step is saved: it stops after the next."""

    def listen(event: Any) -> None:
        if event.kind == "checkpoint" and event.values["step"] == step:
            run.ask_to_stop()

    return listen


def test_watching_does_not_change_what_is_learned(tmp_path: Path) -> None:
    quiet = {"every": 100, "at_start": False}
    lora = {"kind": "lora", "dropout": 0.3, "learning_rate": 0.01}
    loop, _ = tiny_runs.run_loop(
        tiny_runs.recipe(tmp_path, method=lora, evaluation=quiet), tiny_runs.context(tmp_path / "quiet")
    )
    watched, events = tiny_runs.run_loop(
        tiny_runs.recipe(tmp_path, method=lora, evaluation={"every": 1, "prompts": ["the quick"], "samples": 1}),
        tiny_runs.context(tmp_path / "watched"),
    )
    assert tiny_runs.same(weights_of(loop), weights_of(watched))
    samples = [event for event in events.events if event.kind == "sample"]
    assert len(samples) == 2 * 7
    assert {event.values["prompt"] for event in samples} >= {"the quick"}


def test_activation_checkpointing_gives_the_same_gradients(tmp_path: Path) -> None:
    first, _ = tiny_runs.run_loop(tiny_runs.recipe(tmp_path), tiny_runs.context(tmp_path / "without"))
    second, _ = tiny_runs.run_loop(
        tiny_runs.recipe(tmp_path, trainer={"activation_checkpointing": True}), tiny_runs.context(tmp_path / "with")
    )
    assert differs(weights_of(first), weights_of(second)) < 1e-6
    assert any(getattr(part, "gradient_checkpointing", False) for part in second.module.modules())


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "auto"])
def test_bfloat16_learns_with_each_format_of_weights(tmp_path: Path, kind: str) -> None:
    trainer = {"dtype": "bfloat16", "weights_dtype": kind, "steps": 12}
    loop, events = tiny_runs.run_loop(tiny_runs.recipe(tmp_path, trainer=trainer), tiny_runs.context(tmp_path / "run"))
    losses = events.metrics("loss")
    assert losses[12] < losses[1] - 0.3
    masters = {master.dtype for master in loop.weights.masters().values()}
    inside = {parameter.dtype for parameter in loop.module.parameters()}
    assert masters == {torch.bfloat16 if kind == "bfloat16" else torch.float32}
    assert inside == {torch.float32 if kind == "float32" else torch.bfloat16}


def test_early_stopping_ends_the_run_and_keeps_the_best(tmp_path: Path) -> None:
    evaluation = {"every": 1, "early_stopping": {"patience": 2}}
    recipe = tiny_runs.recipe(
        tmp_path,
        evaluation=evaluation,
        trainer={"steps": 40},
        optimizer={"kind": "sgd"},
        schedule={"kind": "constant", "warmup": 0},
        method={"kind": "full", "learning_rate": 5.0},
        checkpoints={"every": 100, "keep_last": 1},
    )
    loop, _ = tiny_runs.run_loop(recipe, tiny_runs.context(tmp_path / "run"))
    losses = {step: scores["loss"] for step, scores in loop.scores.items() if step}
    best = min(losses, key=lambda step: losses[step])
    assert loop.step == best + 2 < 40
    assert loop.best.step == best
    assert set(loop.store.steps()) == {best, loop.step}


def test_a_measure_that_is_not_there_is_refused_before_training(tmp_path: Path) -> None:
    recipe = tiny_runs.recipe(tmp_path, evaluation={"metric": "acuracy"})
    with pytest.raises(InvalidRecipe, match=r"acuracy.*accuracy, loss, perplexity") as caught:
        tiny_runs.run_loop(recipe, tiny_runs.context(tmp_path / "run"))
    assert "accuracy" in str(caught.value.hint)


@pytest.mark.parametrize("evaluation", [{"early_stopping": {"patience": 1}}, {"metric": "accuracy"}])
def test_measures_without_anything_to_measure_are_refused(tmp_path: Path, evaluation: dict[str, Any]) -> None:
    recipe = tiny_runs.recipe(tmp_path, evaluation=evaluation, data={"validation_share": 0})
    with pytest.raises(InvalidRecipe, match=f"evaluation.{next(iter(evaluation))}: nothing is measured"):
        tiny_runs.open_loop(recipe, tiny_runs.context(tmp_path / "run"))


def test_tasks_are_measured_as_llmasos_eval_does(tmp_path: Path) -> None:
    run = tiny_runs.context(tmp_path / "run")
    choice, texts = choice_task(run.folder), perplexity_task(run.folder)
    names = [task.task.name for task in (choice, texts)]
    recipe = tiny_runs.recipe(
        tmp_path,
        evaluation={"every": 6, "tasks": [{"task": f"{names[0]}.yaml", "limit": 3}, {"task": f"{names[1]}.yaml"}]},
    )
    loop, events = tiny_runs.run_loop(recipe, run)
    opened = loop.evaluator._tasks._opened
    found = evaluate_module(
        choice,
        loop.module,
        opened.renderer.tokenizer,
        context_length=opened.context_length,
        template=opened.renderer.template,
        options=RunOptions(limit=3),
    ).evaluation
    expected = {f"{names[0]}.{name}": entry.value for name, entry in found.scores.items()}
    assert expected.items() <= loop.scores[6].items()
    before, after = (loop.scores[step] for step in (0, 6))
    assert any(before[name] != after[name] for name in before if name.startswith(names[1]))
    assert set(events.metrics(next(iter(expected)))) == {0, 6}


def test_the_best_by_a_score_of_which_less_is_better(tmp_path: Path) -> None:
    run = tiny_runs.context(tmp_path / "run")
    name = perplexity_task(run.folder).task.name
    metric = f"{name}.byte_perplexity"
    recipe = tiny_runs.recipe(
        tmp_path, evaluation={"every": 2, "metric": metric, "tasks": [{"task": f"{name}.yaml"}]}, trainer={"steps": 6}
    )
    loop, _ = tiny_runs.run_loop(recipe, run)
    found = {step: scores[metric] for step, scores in loop.scores.items() if step}
    assert len(set(found.values())) > 1
    assert loop.best.step == min(found, key=lambda step: found[step])


@pytest.mark.parametrize(("kind", "task", "problem"), [
    ("pretrain", "hellasway", "there is no task hellasway"),
    ("classify", "hellaswag", "kind classify cannot be measured"),
])  # fmt: skip
def test_tasks_that_cannot_be_measured_are_refused_before_training(
    tmp_path: Path, kind: str, task: str, problem: str
) -> None:
    recipe: Any = tiny_runs.recipe(tmp_path, evaluation={"tasks": [{"task": task}]})
    _, parts = tiny_runs.open_loop(tiny_runs.recipe(tmp_path), tiny_runs.context(tmp_path / "run"))
    with pytest.raises((NotFound, InvalidRecipe), match=problem):
        TaskMeasures(recipe.model_copy(update={"kind": kind}), parts.opened, tmp_path)


def poison(monkeypatch: pytest.MonkeyPatch, calls: set[int]) -> None:
    """Let the loss of some micro-batches, counted from 0 over the run, be NaN."""
    original = CausalObjective.loss
    count = iter(range(10_000))

    def loss(self: CausalObjective, module: Any, batch: Any) -> LossSum:
        found = original(self, module, batch)
        bad = float("nan") if next(count) in calls else 1.0
        return LossSum(found.total * bad, found.count)

    monkeypatch.setattr(CausalObjective, "loss", loss)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_runs.recipe(tmp_path)
    loop, parts = tiny_runs.open_loop(recipe, tiny_runs.context(tmp_path / "run"))
    rows = parts.feeds.train.rows_of_step(1, epoch=0)[2]
    poison(monkeypatch, {4 + 2})
    with pytest.raises(NotFinite) as caught:
        loop.run()
    message = caught.value.message
    assert "step 2" in message
    assert "Micro-batch 2" in message
    assert ", ".join(str(row) for row in rows) in message
    texts = tiny_runs.texts(40)
    assert any(text[:20] in message for text in texts)
    assert loop.step == 1
    assert all(torch.isfinite(master).all() for master in loop.weights.masters().values())


def test_bad_steps_are_left_out_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, {5, 9})
    recipe = tiny_runs.recipe(tmp_path, trainer={"on_bad_loss": "skip", "log_every": 1})
    loop, events = tiny_runs.run_loop(recipe, tiny_runs.context(tmp_path / "run"))
    assert loop.gate.skipped == 2
    warnings = [message for message in events.messages("warning") if "left out" in message]
    assert ["step 2" in warnings[0], "step 3" in warnings[1]] == [True, True]
    assert "Micro-batch 1" in warnings[0]
    assert sorted(events.metrics("loss")) == [1, 4, 5, 6]
    assert all(torch.isfinite(master).all() for master in loop.weights.masters().values())


def test_too_many_bad_steps_in_a_row_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, set(range(4, 1000)))
    recipe = tiny_runs.recipe(tmp_path, trainer={"on_bad_loss": "skip", "steps": 30})
    with pytest.raises(NotFinite, match="11 steps in a row"):
        tiny_runs.run_loop(recipe, tiny_runs.context(tmp_path / "run"))


def test_a_full_disk_keeps_the_checkpoint_before_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Snapshot.write

    def full(self: Snapshot, folder: Path) -> None:
        if self.state.step == 4:
            raise OutOfDisk("the disk is full", needed=1, free=0)
        original(self, folder)

    monkeypatch.setattr(Snapshot, "write", full)
    recipe = tiny_runs.recipe(tmp_path, evaluation={"every": 100})
    loop, events = tiny_runs.run_loop(recipe, tiny_runs.context(tmp_path / "run"))
    assert loop.store.steps() == [2, 6]
    assert any("no checkpoint at step 4" in message for message in events.messages("warning"))


def test_a_full_disk_at_the_end_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Snapshot, folder: Path) -> None:
        raise OutOfDisk("the disk is full", needed=1, free=0)

    monkeypatch.setattr(Snapshot, "write", full)
    with pytest.raises(OutOfDisk):
        tiny_runs.run_loop(tiny_runs.recipe(tmp_path), tiny_runs.context(tmp_path / "run"))


def test_events_of_checkpoints_name_the_best(tmp_path: Path) -> None:
    loop, events = tiny_runs.run_loop(tiny_runs.recipe(tmp_path), tiny_runs.context(tmp_path / "run"))
    saved = {int(event.values["step"]): event for event in events.events if event.kind == "checkpoint"}
    assert list(saved) == [2, 3, 4, 6]
    assert saved[3].values["best"] == 1
    assert saved[4].values["best"] == 0
    state = json.loads((loop.store.path(6) / "state.json").read_text())
    assert state["recipe"]["trainer"]["steps"] == 6


@pytest.mark.integration
def test_compiled_layers_learn_the_same(tmp_path: Path) -> None:
    first, _ = tiny_runs.run_loop(
        tiny_runs.recipe(tmp_path, optimizer={"kind": "sgd"}), tiny_runs.context(tmp_path / "without")
    )
    second, _ = tiny_runs.run_loop(
        tiny_runs.recipe(tmp_path, optimizer={"kind": "sgd"}, trainer={"compile": True}),
        tiny_runs.context(tmp_path / "with"),
    )
    assert differs(weights_of(first), weights_of(second)) < 1e-5
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
