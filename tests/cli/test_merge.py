"""`llmasos merge`, and commands that take an adapter as a model."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import tiny_models
from llmasos.cli.app import main
from llmasos.library import acquire
from llmasos.library.store import Library
from llmasos.modeling.folder import Family
from llmasos.training.methods.apply import apply_method, save_trained
from llmasos.training.recipe import methods


@pytest.fixture
def adapter(home: Path, tmp_path: Path) -> str:
    """A base in the library and an adapter for it."""
    base, made = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    tiny_models.BUILDERS["llama"](base)
    acquire.import_path(base, name="my/base", accept_license=True)
    module = transformers.AutoModelForCausalLM.from_pretrained(base)
    applied = apply_method(module, methods.Lora(rank=2), family=Family.CAUSAL, kind="sft", seed=0)
    with torch.no_grad():
        for _, weight in applied.parameters():
            weight.add_(0.02)
    save_trained(applied, made, base="my/base")
    acquire.import_path(made, name="my/adapter", accept_license=True)
    return "my/adapter"


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_merge_prints_the_differences(adapter: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(["merge", adapter], capsys)
    assert code == 0, out + err
    assert "The adapter changes logits by up to" in out
    assert "Merged in float32" in out
    assert "Read again as float32" in out
    assert "my/adapter-merged:latest is in the library" in out
    assert Library().has("my/adapter-merged")


def test_merge_as_json_under_a_name_in_another_format(adapter: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(["merge", adapter, "--name", "my/whole:v1", "--dtype", "bfloat16", "--json"], capsys)
    assert code == 0, out + err
    data: dict[str, Any] = json.loads(out)
    assert (data["name"], data["dtype"], data["untied"]) == ("my/whole:v1", "bfloat16", False)
    assert 0 <= data["relative_difference"] < data["effect"]
    assert Library().resolve("my/whole:v1").metadata.precision == "bfloat16"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["my/base"], "not an adapter"),
        (["my/adaptr"], "my/adapter"),
        (["my/adapter", "--dtype", "int3"], "not a number format"),
        (["my/adapter", "--name", "No Name"], "No Name"),
    ],
)
def test_refused(arguments: list[str], message: str, adapter: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(["merge", *arguments], capsys)
    assert code != 0
    assert message in err


def test_commands_take_an_adapter_as_a_model(
    adapter: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    code, out, err = run(["run", adapter, "--prompt", "Say hello", "--max-tokens", "4", "--json"], capsys)
    assert code == 0, out + err
    assert json.loads(out)["usage"]["completion_tokens"] > 0
    code, out, err = run(["generate", adapter, "Say hello", "--max-tokens", "4", "--json"], capsys)
    assert code == 0, out + err
    assert json.loads(out)["model"] == adapter
