from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny_models

Run = Callable[..., tuple[int, str, str]]
TEXT = "The quick brown fox"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_models.build("llama", tmp_path_factory.mktemp("explain") / "llama"))


def test_explain_shows_every_token(llmasos: Run, tiny: str) -> None:
    code, shown, _ = llmasos("explain", tiny, TEXT, "--top", "2")
    _, written, _ = llmasos("explain", tiny, TEXT, "--top", "2", "--json")
    found = json.loads(written)
    lines = shown.splitlines()
    assert code == 0 and len(lines) == len(found["tokens"]) + 3
    assert "".join(token["text"] for token in found["tokens"]) == TEXT
    first, second = found["tokens"][:2]
    assert "probability" not in first
    assert 0 < second["probability"] < 1 and second["rank"] >= 1 and len(second["candidates"]) == 2
    assert f"{second['probability']:.1%}" in lines[2] and f"Perplexity {found['perplexity']:.2f}" == lines[-1]
    assert "attention" not in found and "lens" not in found


def test_explain_shows_attention_and_layers(llmasos: Run, tiny: str) -> None:
    options = ("--attention", "1:0", "--lens", "1")
    code, shown, _ = llmasos("explain", tiny, TEXT, *options)
    found = json.loads(llmasos("explain", tiny, TEXT, *options, "--json")[1])
    count = len(found["tokens"])
    assert code == 0 and "Attends to" in shown and "embedding" in shown
    assert (found["attention"]["layer"], found["attention"]["head"]) == (1, 0)
    assert [len(row) for row in found["attention"]["weights"]] == [count] * count
    assert [layer["layer"] for layer in found["lens"]["layers"]] == [-1, 0, 1] and found["lens"]["position"] == 1
    mean = json.loads(llmasos("explain", tiny, TEXT, "--attention", "mean", "--json")[1])["attention"]
    assert (mean["layer"], mean["head"]) == (None, None)


def test_explain_an_answer_from_standard_input(llmasos: Run, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a fox"))
    found = json.loads(llmasos("explain", tiny, "-", "--prompt", "Who jumps?", "--json")[1])
    assert "".join(token["text"] for token in found["tokens"] if not token["context"]) == "a fox"


@pytest.mark.parametrize(("options", "message"), [
    (("--attention", "x"), "--attention = 'x'"), (("--attention", "1:b"), "LAYER:HEAD"),
    (("--attention", "7"), "layer = 7"), (("--attention", "0:5"), "head = 5"), (("--lens", "99"), "position = 99"),
    (("--top", "0"), "top = 0"),
])  # fmt: skip
def test_what_is_not_there_is_refused(llmasos: Run, tiny: str, options: tuple[str, ...], message: str) -> None:
    code, _, errors = llmasos("explain", tiny, TEXT, *options)
    assert code == 2 and message in errors


def test_a_model_that_cannot_says_so(llmasos: Run, tmp_path: Path) -> None:
    code, _, errors = llmasos("explain", str(tiny_models.build("t5", tmp_path / "t5")), TEXT)
    assert code != 0 and "cannot be explained" in errors
