from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny_models
from llmasos.library.metadata import Metadata
from llmasos.library.reference import Reference
from llmasos.library.store import Library

pytestmark = pytest.mark.integration  # by its time: seconds, not milliseconds

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_models.build("llama", tmp_path_factory.mktemp("bench") / "llama"))


SMALL = ("--prompt-tokens", "12", "--new-tokens", "6", "--repeat", "1")


def test_json_has_every_figure(llmasos: Run, llama: str) -> None:
    code, document, error = llmasos("bench", "engine", llama, "--streams", "1,3", *SMALL, "--json")
    assert code == 0, error
    result = json.loads(document)
    assert result["model"] == llama
    assert result["weight_bytes"] > 0
    assert result["cache_bytes_per_token"] > 0
    assert result["peak_memory_bytes"] > 10_000_000
    assert result["start_seconds"] > 0
    assert result["memory_bandwidth"] > 1e8
    assert [row["streams"] for row in result["results"]] == [1, 3]
    for row in result["results"]:
        assert row["output_tokens"] == row["streams"] * 6
        assert row["tokens_per_second"] == pytest.approx(row["output_tokens"] / row["seconds"])
        assert 0 < row["first_token"]["p50"] <= row["first_token"]["p95"]
        assert row["pause"]["p50"] <= row["pause"]["p95"] <= row["pause"]["p99"]
        # 12 + 6/2 tokens of each stream beside the weights
        read = result["weight_bytes"] + row["streams"] * 15 * result["cache_bytes_per_token"]
        assert row["ceiling_tokens_per_second"] == pytest.approx(row["streams"] * result["memory_bandwidth"] / read)


def test_table_for_people(llmasos: Run, llama: str) -> None:
    code, text, _ = llmasos("bench", "engine", llama, "--streams", "2", *SMALL)
    assert code == 0
    assert llama in text
    assert "memory bandwidth" in text
    assert "Pause p50/p95/p99" in text
    assert text.splitlines()[-1].split()[0] == "2"


def test_options_reach_the_engine(llmasos: Run, llama: str) -> None:
    options = ("--streams", "1", "--prompt-tokens", "8", "--new-tokens", "64", "--repeat", "1", "--json")
    formats = ("--dtype", "float32", "--cache-dtype", "int8")
    result = json.loads(llmasos("bench", "engine", llama, "--no-speculation", *formats, *options)[1])
    assert result["dtype"] == "float32" and result["cache_dtype"] == "int8"
    assert result["results"][0]["guessed_tokens"] == 0
    assert result["results"][0]["passes"] == 64


def test_how_decoding_passes_were_run_is_said(llmasos: Run, llama: str) -> None:
    plain = json.loads(llmasos("bench", "engine", llama, "--streams", "1", *SMALL, "--dtype", "float32", "--json")[1])
    assert (plain["decode_path"], plain["decode_counts"]) == ("eager", None)
    options = ("--streams", "1,3", *SMALL, "--dtype", "float32", "--no-speculation", "--decode", "static")
    code, document, error = llmasos("bench", "engine", llama, *options, "--json")
    assert code == 0, error
    static = json.loads(document)
    assert static["decode_path"] == "static"
    assert static["runs_as"].endswith("static shapes")
    counts = static["decode_counts"]
    assert counts["static_passes"] >= 5 + 5  # both workloads
    assert counts["captured"] >= 2 and counts["eager_passes"] >= 2
    text = llmasos("bench", "engine", llama, *options)[1]
    assert "static shapes: " in text and " passes eager" in text


def test_graphs_need_a_gpu(llmasos: Run, llama: str) -> None:
    code, _, error = llmasos("bench", "engine", llama, "--device", "cpu", "--decode", "graphs")
    assert code == 2
    assert "decode = graphs needs a CUDA device" in error


def test_static_shapes_need_the_fused_runner(llmasos: Run, tmp_path: Path) -> None:
    import transformers

    folder = tiny_models.build("llama", tmp_path / "gpt2")
    config = transformers.GPT2Config(vocab_size=400, n_embd=32, n_layer=1, n_head=2, n_positions=64)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    code, _, error = llmasos("bench", "engine", str(folder), "--dtype", "float32", "--decode", "static")
    assert code == 2
    assert "decode = static needs the fused runner: the fused decoder does not support model_type = gpt2" in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("engines", "x"), "did you mean engine?"),
        (("engine", "x", "--streams", "1,b"), "'1,b'"),
        (("engine", "x", "--streams", ","), "whole numbers"),
        (("engine", "x", "--streams", "0"), "streams = 0"),
        (("engine", "x", "--repeat", "0"), "repeat = 0"),
        (("engine", "x", "--new-tokens", "0"), "new_tokens = 0"),
    ],
)
def test_what_cannot_be_measured(llmasos: Run, arguments: tuple[str, ...], said: str) -> None:
    code, _, error = llmasos("bench", *arguments)
    assert code == 2
    assert said in error


def test_prompt_and_output_must_fit(llmasos: Run, llama: str) -> None:
    code, _, error = llmasos("bench", "engine", llama, "--prompt-tokens", "100000")
    assert code == 2
    assert "100128 tokens together" in error


def test_only_decoder_models(llmasos: Run, tmp_path: Path) -> None:
    code, _, error = llmasos("bench", "engine", str(tiny_models.build("t5", tmp_path / "t5")))
    assert code != 0
    assert "decoder-only" in error


def test_a_model_of_the_library_is_checked_before_it_is_measured(llmasos: Run, llama: str) -> None:
    with Library().draft() as draft:
        for file in sorted(Path(llama).iterdir()):
            draft.add_file(file.name, file)
        draft.publish(Reference.parse("tiny"), Metadata.model_validate({"kind": "model"}, strict=False))
    code, document, error = llmasos("bench", "engine", "tiny", "--streams", "1", *SMALL, "--json")
    assert code == 0, error
    assert json.loads(document)["model"] == "tiny"
    library = Library()
    blob = library.blobs.path(library.resolve("tiny").manifest.files["model.safetensors"].digest)
    blob.chmod(0o644)
    data = bytearray(blob.read_bytes())
    data[-5] ^= 1
    blob.write_bytes(data)
    code, _, error = llmasos("bench", "engine", "tiny", *SMALL)
    assert code != 0
    assert "model.safetensors" in error or "sha256" in error


def test_an_unknown_path_is_refused(llmasos: Run, llama: str) -> None:
    code, _, error = llmasos("bench", "engine", llama, "--decode", "graph")
    assert code == 2
    assert "--decode 'graph'" in error and "did you mean graphs" in error
