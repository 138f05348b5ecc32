"""Which path a device gets, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmasos import settings
from llmasos.engine.graphs.options import DecodeOptions
from llmasos.engine.kernels import native
from llmasos.engine.options import EngineOptions, cache_blocks
from llmasos.engine.runners.fused import FusedRunner
from llmasos.errors import InvalidRequest
from tiny_decoders import random_model


def test_graphs_on_cuda_and_nothing_new_elsewhere() -> None:
    assert DecodeOptions().path("cuda:1") == "graphs"
    assert DecodeOptions().path("cpu") == DecodeOptions().path("mps") == "eager"
    assert DecodeOptions("eager").path("cuda:0") == "eager"
    assert DecodeOptions("static").path("cpu") == DecodeOptions("static").path("cuda:0") == "static"
    with pytest.raises(InvalidRequest, match="needs a CUDA device; this is cpu"):
        DecodeOptions("graphs").path("cpu")


def test_the_setting_turns_graphs_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMASOS_CUDA_GRAPHS", "false")
    settings.get_settings.cache_clear()
    assert DecodeOptions().path("cuda:0") == "eager"
    assert DecodeOptions("graphs").path("cuda:0") == "graphs", "who asks gets them"
    monkeypatch.undo()
    settings.get_settings.cache_clear()


def test_all_bad_values_are_named_at_once() -> None:
    wrong = DecodeOptions("graph", "early", 0, 0)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest) as caught:
        EngineOptions(max_sequences=0, decode=wrong).check()
    for name in ("max_sequences = 0", "decode.mode = 'graph'", "decode.capture = 'early'", "decode.max_graphs = 0",
                 "decode.max_graph_bytes = 0"):  # fmt: skip
        assert name in caught.value.message


def test_a_cpu_decodes_as_before(tmp_path: Path) -> None:
    random_model("llama", tmp_path)
    runner = FusedRunner(tmp_path, precision="fp32")
    runner.allocate_cache(4)
    assert runner.decode_path == "eager" and runner.decode_counts is None
    assert runner.description == "fused, torch kernels, fp32"
    assert runner.decoder._attention._keys.values.shape[1] == 4 * 16, "no scratch block"  # type: ignore[attr-defined]
    static = FusedRunner(tmp_path, precision="fp32", decode=DecodeOptions("static"))
    assert static.description == "fused, torch kernels, fp32, static shapes"
    with pytest.raises(InvalidRequest, match="needs a CUDA device"):
        FusedRunner(tmp_path, precision="fp32", decode=DecodeOptions("graphs"))


@pytest.mark.skipif(native.load() is None, reason="the native kernels do not run here")
def test_native_kernels_refuse_static_shapes(tmp_path: Path) -> None:
    random_model("llama", tmp_path)
    with pytest.raises(InvalidRequest, match="needs PyTorch's kernels"):
        FusedRunner(tmp_path, precision="int8", decode=DecodeOptions("static"))


def test_the_cache_is_sized_by_the_memory_of_its_device(make_runner, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    runner = make_runner(block_size=16, context_length=1 << 20)
    on_cpu = cache_blocks(runner, EngineOptions())
    runner.device = "cuda:3"
    asked = []

    def mem_get_info(device: str) -> tuple[int, int]:
        asked.append(device)
        return 100 * 1024, 1 << 30

    monkeypatch.setattr(torch.cuda, "mem_get_info", mem_get_info)
    assert cache_blocks(runner, EngineOptions()) == 40  # a share of 0.4 of 100 blocks of 1024 bytes
    assert asked == ["cuda:3"] and on_cpu > 40
