"""Two processes learn what one learns: the same losses, the same weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_models
import tiny_runs
from llmasos.training.checkpoint.snapshot import Snapshot

SCRIPT = Path(__file__).with_name("train_together.py")
ADAMW = {"log_every": 1, "steps": 6}

pytestmark = pytest.mark.integration


def start(made: Path, folder: Path, changes: dict[str, Any], *, processes: int) -> tuple[int, str]:
    """Train in some processes; exit status and what they wrote to standard error."""
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += [str(SCRIPT), str(made), str(folder), json.dumps(changes)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    return done.returncode, done.stderr


def train(made: Path, folder: Path, changes: dict[str, Any], *, processes: int) -> tuple[dict[str, Any], Snapshot]:
    status, text = start(made, folder, changes, processes=processes)
    assert status == 0, text
    found: dict[str, Any] = json.loads((folder / "losses.json").read_text())
    return found, Snapshot.read(folder / "checkpoints" / "step-00000006")


def distance(first: Snapshot, second: Snapshot) -> float:
    assert first.weights.keys() == second.weights.keys()
    return max(float((first.weights[name] - second.weights[name]).abs().max()) for name in first.weights)


@pytest.mark.parametrize("changes", [
    # 31 rows in steps of 8 are an odd number in the last step of an epoch: one process has less to do.
    {"trainer": {**ADAMW, "micro_batch_size": 1}, "data": {"train_limit": 31}},
    {"trainer": {**ADAMW, "ema": 0.5, "micro_batch_size": 4},
     "method": {"kind": "lora", "rank": 4, "dropout": 0.2, "learning_rate": 0.01}},
], ids=["full", "lora-dropout-ema"])  # fmt: skip
def test_two_processes_equal_one(tmp_path: Path, changes: dict[str, Any]) -> None:
    tiny_runs.recipe(tmp_path)
    one, alone = train(tmp_path, tmp_path / "one", changes, processes=1)
    two, together = train(tmp_path, tmp_path / "two", changes, processes=2)
    assert two["tokens"] == one["tokens"]
    assert list(two["losses"].values()) == pytest.approx(list(one["losses"].values()), abs=1e-5)
    for step, scores in one["scores"].items():
        assert two["scores"][step] == pytest.approx(scores, rel=1e-4)
    assert distance(alone, together) < 1e-4


@pytest.mark.parametrize("changes", [
    {"trainer": {**ADAMW, "micro_batch_size": 1, "distribution": {"kind": "fsdp"}}, "data": {"train_limit": 31},
     "evaluation": {"every": 3, "prompts": ["the quick"], "sample_tokens": 3}},
    {"trainer": {**ADAMW, "ema": 0.5, "distribution": {"kind": "fsdp", "reshard_after_forward": False}},
     "method": {"kind": "lora", "rank": 4, "learning_rate": 0.01}, "optimizer": {"kind": "lion"}},
], ids=["full", "lora"])  # fmt: skip
def test_sharded_weights_equal_whole_ones(tmp_path: Path, changes: dict[str, Any]) -> None:
    # A model without kernels of its own: they are not used with sharded weights, and Adam and Lion make much of the
    # last digits.
    tiny_models.build("gemma3", tmp_path / "model")
    tiny_runs.recipe(tmp_path)
    whole = {**changes, "trainer": {**changes["trainer"], "distribution": {"kind": "data-parallel"}}}
    one, alone = train(tmp_path, tmp_path / "one", whole, processes=1)
    two, together = train(tmp_path, tmp_path / "two", changes, processes=2)
    assert list(two["losses"].values()) == pytest.approx(list(one["losses"].values()), abs=1e-5)
    for step, scores in one["scores"].items():
        assert two["scores"][step] == pytest.approx(scores, rel=1e-4)
    assert distance(alone, together) < 1e-4
    assert {name: value.shape for name, value in together.optimizer.items()} == {
        name: value.shape for name, value in alone.optimizer.items()
    }


def test_sharded_weights_compute_in_bfloat16_and_are_kept_in_float32(tmp_path: Path) -> None:
    tiny_runs.recipe(tmp_path)
    lora = {"kind": "lora", "rank": 4, "learning_rate": 0.01}
    changes = {"trainer": {**ADAMW, "dtype": "bfloat16"}, "method": lora, "optimizer": {"kind": "sgd"}}
    sharded = {**changes, "trainer": {**changes["trainer"], "distribution": {"kind": "fsdp"}}}
    one, alone = train(tmp_path, tmp_path / "one", changes, processes=1)
    two, together = train(tmp_path, tmp_path / "two", sharded, processes=2)
    assert list(two["losses"].values()) == pytest.approx(list(one["losses"].values()), abs=0.01)
    assert {value.dtype for value in together.weights.values()} == {torch.float32}
    assert distance(alone, together) < 1e-3


def test_the_process_with_the_bad_batch_is_named(tmp_path: Path) -> None:
    tiny_runs.recipe(tmp_path)
    changes = {
        "trainer": {"steps": 9},
        "method": {"kind": "full", "learning_rate": 1e30},
        "schedule": {"kind": "constant", "warmup": 0},
    }
    status, text = start(tmp_path, tmp_path / "run", changes, processes=2)
    assert status != 0
    assert "NotFinite" in text
    assert "Process 0, micro-batch 0" in text
    assert "Process 1, micro-batch 0" in text


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    tiny_runs.recipe(tmp_path)
    changes = {"trainer": {"batch_size": 7, "micro_batch_size": None}}
    status, text = start(tmp_path, tmp_path / "run", changes, processes=2)
    assert status != 0
    assert "trainer.batch_size = 7: not a multiple of the 2 processes" in text
