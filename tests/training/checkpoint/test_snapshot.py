"""Checkpoints: whole or not at all, checked, the newest intact one found, the best kept."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_runs
from llmasos.errors import IntegrityError, InvalidRecipe, OutOfDisk
from llmasos.training.checkpoint import snapshot as module
from llmasos.training.checkpoint.compatibility import require_same_data, require_same_recipe
from llmasos.training.checkpoint.snapshot import RunState, Snapshot, read_weights
from llmasos.training.checkpoint.store import CheckpointStore


def snapshot(step: int = 2, *, average: bool = False) -> Snapshot:
    generator = torch.Generator().manual_seed(step)
    weights = {"a.weight": torch.randn(3, 4, generator=generator), "b.bias": torch.randn(5, generator=generator)}
    state = RunState(
        step=step,
        total_steps=9,
        tokens=123,
        seconds=1.5,
        scores={0: {"loss": 2.0}, step: {"loss": 0.1 + 0.2}},
        losses=[(1, 1 / 3), (step, float("inf"))],
        measured={"total": 1 / 3, "metrics": {"right": [1.0, 2.0]}},
        best={"step": step, "value": 0.3, "reference": 0.3, "waited": 0},
        skipped=1,
        stopped_early=False,
        optimizer={"a.weight/step": step},
        recipe={"kind": "sft"},
        data={"train": "sha256:1"},
    )
    optimizer = {"a.weight/mean": torch.arange(12, dtype=torch.uint8).view(3, 4), "b.bias/step": torch.tensor(2.0)}
    return Snapshot(state, weights, optimizer, {"a.weight": weights["a.weight"] * 2} if average else None)


@pytest.mark.parametrize("average", [True, False])
def test_a_state_comes_back_bit_for_bit(tmp_path: Path, average: bool) -> None:
    written = snapshot(average=average)
    written.write(tmp_path / "step-00000002")
    read = Snapshot.read(tmp_path / "step-00000002")
    assert read.state == written.state
    assert tiny_runs.same(dict(read.weights), dict(written.weights))
    assert tiny_runs.same(dict(read.optimizer), dict(written.optimizer))
    assert tiny_runs.same(dict(read.average or {}), dict(written.average or {}))
    assert (read.average is None) is not average


def test_formats_of_tensors_are_kept(tmp_path: Path) -> None:
    kept = {str(kind): torch.ones(3, dtype=kind) for kind in module._DTYPES} | {"none": torch.zeros(0, 4)}
    replace(snapshot(), weights=kept).write(tmp_path / "x")
    read = Snapshot.read(tmp_path / "x").weights
    assert {name: (value.dtype, value.shape) for name, value in read.items()} == {
        name: (value.dtype, value.shape) for name, value in kept.items()
    }


def test_the_result_of_a_checkpoint_is_the_average_if_there_is_one(tmp_path: Path) -> None:
    for average in (True, False):
        written = snapshot(average=average)
        written.write(tmp_path / str(average))
        expected = written.average if written.average is not None else written.weights
        assert tiny_runs.same(read_weights(tmp_path / str(average)), dict(expected))


def test_one_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    snapshot(2).write(tmp_path / "x")
    later = snapshot(3)
    later.write(tmp_path / "x")
    assert Snapshot.read(tmp_path / "x").state == later.state
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


FILES = ["weights.safetensors", "optimizer.safetensors", "average.safetensors", "state.json", "checksums.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_every_damage_is_found(tmp_path: Path, name: str, damage: str) -> None:
    snapshot(average=True).write(tmp_path / "x")
    file = tmp_path / "x" / name
    content = bytearray(file.read_bytes())
    if damage == "remove":
        file.unlink()
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content if damage == "flip" else content[:-3])
    with pytest.raises(IntegrityError, match="damaged"):
        Snapshot.read(tmp_path / "x")


def test_another_format_is_refused(tmp_path: Path) -> None:
    written = snapshot()
    replace(written, state=replace(written.state, format=99)).write(tmp_path / "x")
    with pytest.raises(IntegrityError, match="format 99; this version reads 1"):
        Snapshot.read(tmp_path / "x")


def store(folder: Path, *, keep_last: int = 2) -> CheckpointStore:
    return CheckpointStore(folder / "checkpoints", keep_last=keep_last)


def test_the_newest_intact_state_is_taken(tmp_path: Path) -> None:
    checkpoints = store(tmp_path)
    for step in (2, 4):
        checkpoints.write(snapshot(step), best=None)
    (checkpoints.path(4) / "weights.safetensors").write_bytes(b"?")
    told: list[str] = []
    found = checkpoints.newest(lambda error: told.append(error.message))
    assert found is not None
    assert found.state.step == 2
    assert len(told) == 1
    assert "step-00000004" in told[0]
    assert "weights.safetensors" in told[0]


def test_if_all_are_damaged_the_run_cannot_go_on(tmp_path: Path) -> None:
    checkpoints = store(tmp_path)
    for step in (2, 4):
        checkpoints.write(snapshot(step), best=None)
        (checkpoints.path(step) / "state.json").unlink()
    with pytest.raises(IntegrityError, match="all 2 checkpoints"):
        checkpoints.newest(lambda error: None)


def test_without_a_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert store(tmp_path).newest(lambda error: pytest.fail(str(error))) is None


def test_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints = store(tmp_path)
    for step in range(1, 7):
        checkpoints.write(snapshot(step), best=2 if step >= 2 else None)
    assert checkpoints.steps() == [2, 5, 6]


def test_checkpoints_of_a_future_that_is_trained_again_go(tmp_path: Path) -> None:
    checkpoints = store(tmp_path, keep_last=9)
    for step in (2, 4, 6):
        checkpoints.write(snapshot(step), best=None)
    checkpoints.write(snapshot(3), best=2)
    assert checkpoints.steps() == [2, 3]


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    checkpoints = store(tmp_path)
    left = checkpoints.folder / ".step-00000002-abcd"
    left.mkdir(parents=True)
    (left / "weights.safetensors").write_bytes(b"half")
    assert checkpoints.steps() == []
    checkpoints.write(snapshot(4), best=None)
    assert [path.name for path in checkpoints.folder.iterdir()] == ["step-00000004"]


@pytest.mark.parametrize("place", ["_write_tensors", "digest_of_file", "sync_file", "sync_folder"])
def test_a_disk_that_fills_up_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    checkpoints = store(tmp_path)
    checkpoints.write(snapshot(2), best=None)

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, place, full)
    with pytest.raises(OutOfDisk):
        checkpoints.write(snapshot(4), best=None)
    monkeypatch.undo()
    assert [path.name for path in checkpoints.folder.iterdir()] == ["step-00000002"]
    found = checkpoints.newest(lambda error: pytest.fail(str(error)))
    assert found is not None
    assert found.state.step == 2


def test_too_little_space_is_known_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmasos.library.disk.free_bytes", lambda folder: 10)
    with pytest.raises(OutOfDisk) as caught:
        snapshot().write(tmp_path / "x")
    assert caught.value.needed == snapshot().size
    assert not any(tmp_path.iterdir())


def dumped(folder: Path, **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tiny_runs.recipe(folder, **changes).model_dump_json())
    return found


@pytest.mark.parametrize("changes", [
    {"name": "other"},
    {"checkpoints": {"every": 1}},
    {"evaluation": {"samples": 2, "every": 5}},
    {"trainer": {"log_every": 1, "threads": 2}},
    {"output": {"name": "my/model"}},
])  # fmt: skip
def test_a_run_may_go_on_with_other_harmless_keys(tmp_path: Path, changes: dict[str, Any]) -> None:
    before, now = dumped(tmp_path), dumped(tmp_path, **changes)
    assert before != now
    require_same_recipe(before, now)


def test_other_keys_are_refused_all_at_once_with_both_values(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"seed": 7, "trainer": {"steps": 9}, "optimizer": {"kind": "lion"}, "name": "other"}
    with pytest.raises(InvalidRecipe) as caught:
        require_same_recipe(dumped(tmp_path), dumped(tmp_path, **changes))
    message = caught.value.message
    for part in ("seed: was 42, is 7", "trainer.steps: was 6, is 9", 'optimizer.kind: was "adamw", is "lion"'):
        assert part in message
    assert "name:" not in message.replace("optimizer", "")


def test_other_data_are_refused() -> None:
    require_same_data({"train": "1", "validation": "2"}, {"train": "1", "validation": "2"})
    with pytest.raises(InvalidRecipe, match="train, validation"):
        require_same_data({"train": "1", "validation": "2"}, {"train": "3"})
