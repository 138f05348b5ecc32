"""The script for people with a GPU: what it says without one, and that it runs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tiny_models

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "gpu.py"

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the benchmarks are not part of a source distribution")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_models.build("llama", tmp_path_factory.mktemp("gpu") / "llama"))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False, env=dict(os.environ)
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.usefixtures("home")
def test_it_says_that_it_needs_a_gpu(model: str) -> None:
    done = run(model)
    assert done.returncode == 2
    assert "This measures a GPU, and there is none" in done.stderr
    assert "--rehearse" in done.stderr


@pytest.mark.usefixtures("home")
def test_a_rehearsal_compares_and_measures(model: str, tmp_path: Path) -> None:
    output = tmp_path / "report.json"
    sizes = ("--streams", "1,3", "--new-tokens", "6", "--prompt-tokens", "12", "--repeat", "1")
    done = run(model, "--rehearse", *sizes, "--output", str(output))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing is captured" in done.stdout
    report = json.loads(output.read_text(encoding="utf-8"))
    assert [(row["path"], row["streams"]) for row in report["results"]] == [
        ("eager", 1), ("eager", 3), ("static", 1), ("static", 3),
    ]  # fmt: skip
    parity = report["parity"]["eager, static"]
    assert parity["same_best_token"] == parity["rows"] > 40
    assert 0 <= parity["largest_difference"] < 1e-4
    assert report["results"][-1]["decode_counts"]["static_passes"] > 0


def test_what_is_called_wrong() -> None:
    spec = importlib.util.spec_from_file_location("benchmark_gpu", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    logits = torch.randn(6, 50)

    def wrong(other: torch.Tensor, refused: int = 0) -> list[bool]:
        parity = {"static, graphs": script.compared(logits, other)}
        lines = script.verdict(parity, {"eager": 0, "graphs": refused}, "float32")
        return [line.startswith("WRONG") for line in lines]

    assert wrong(logits.clone()) == [False]
    assert wrong(logits + 1e-6) == [False]
    assert wrong(logits.roll(1, 0)) == [True]
    assert wrong(logits * float("nan")) == [True]
    assert wrong(logits.clone(), refused=2) == [False, True]
