"""A run that is killed again and again ends with the same weights as one that is left alone."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import tiny_runs
from llmasos.training.checkpoint.snapshot import Snapshot

SCRIPT = Path(__file__).with_name("train_and_say.py")
CHANGES: dict[str, Any] = {
    "trainer": {"steps": 24, "log_every": 3, "ema": 0.9},
    "method": {"kind": "lora", "rank": 4, "dropout": 0.1, "learning_rate": 0.01},
    "evaluation": {"every": 8},
    "checkpoints": {"every": 2},
}

pytestmark = pytest.mark.integration


def run(made: Path, folder: Path, how: str, *, kill_at: int | None) -> tuple[dict[int, float], list[str]]:
    """Start a process; kill it when it says a step. What it said: losses by step, and warnings."""
    command: Sequence[str] = [sys.executable, str(SCRIPT), str(made), str(folder), how, json.dumps(CHANGES)]
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": paths}
    losses: dict[int, float] = {}
    warnings: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            if "warning" in said:
                warnings.append(said["warning"])
                continue
            losses[said["step"]] = said["loss"]
            if said["step"] == kill_at:
                process.kill()
                break
    assert process.returncode == (0 if kill_at is None else -9)
    return losses, warnings


def test_killed_runs_go_on_bit_for_bit(tmp_path: Path) -> None:
    tiny_runs.recipe(tmp_path)
    expected, _ = run(tmp_path, tmp_path / "whole", "first", kill_at=None)
    assert sorted(expected) == [1, *range(3, 25, 3)]
    found: dict[int, float] = {}
    chance = random.Random(5)
    step, how = 0, "first"
    while step < 15:
        step += 3 * chance.randint(1, 2)
        losses, warnings = run(tmp_path, tmp_path / "killed", how, kill_at=step)
        assert not [warning for warning in warnings if "damaged" in warning]
        found |= losses
        how = "resume"
    newest = sorted((tmp_path / "killed" / "checkpoints").glob("step-*"))[-1]
    (newest / "weights.safetensors").write_bytes(b"not a checkpoint")
    losses, warnings = run(tmp_path, tmp_path / "killed", "resume", kill_at=None)
    found |= losses
    assert [newest.name in warning for warning in warnings if "damaged" in warning] == [True]
    assert found == expected
    whole = Snapshot.read(tmp_path / "whole" / "checkpoints" / "step-00000024")
    killed = Snapshot.read(tmp_path / "killed" / "checkpoints" / "step-00000024")
    for name in ("weights", "optimizer", "average"):
        assert tiny_runs.same(dict(getattr(whole, name)), dict(getattr(killed, name))), name
    assert whole.state.scores == killed.state.scores
    assert whole.state.losses == killed.state.losses
    assert whole.state.tokens == killed.state.tokens
    assert whole.state.measured["total"] == killed.state.measured["total"]
