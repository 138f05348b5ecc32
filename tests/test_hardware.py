from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmasos import accelerators, hardware
from llmasos.accelerators import Gpu
from llmasos.errors import InvalidRequest, OutOfMemory, Unsupported


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH, for stand-ins of the drivers' tools."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    accelerators.gpus.cache_clear()
    yield folder
    accelerators.gpus.cache_clear()


def program(folder: Path, name: str, output: str, code: int = 0) -> None:
    path = folder / name
    path.write_text(f"#!{sys.executable}\nprint({output!r}, end='')\nraise SystemExit({code})\n")
    path.chmod(0o755)


def test_the_processor_is_described() -> None:
    processor = hardware.processor()
    assert processor.model
    assert 1 <= processor.usable <= processor.logical
    if processor.architecture == "x86_64" and sys.platform == "linux":
        assert "avx" in processor.instruction_sets or "sse4_2" in processor.instruction_sets


@pytest.mark.parametrize(
    ("allowed", "quota", "cores"),
    [
        ([0, 1, 2, 3], None, 2),  # two threads of each of two cores
        ([0, 1], None, 2),
        ([0, 2], None, 1),
        ([0, 1, 2, 3], 1.5, 2),
        ([0, 1, 2, 3], 1.0, 1),
        ([0, 1, 2, 3], 0.2, 1),
        ([0, 1, 2, 3], 64.0, 2),
        ([7, 8], None, 2),  # unknown processors count one core each
    ],
)
def test_usable_cores(allowed: list[int], quota: float | None, cores: int) -> None:
    core_of = {0: (0, 0), 1: (0, 1), 2: (0, 0), 3: (0, 1)}
    assert hardware.usable_cores(allowed, core_of, quota) == cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity is Linux's")
@pytest.mark.usefixtures("default_threads")
def test_affinity_is_respected() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from llmasos import hardware; print(hardware.processor().usable, hardware.choose_threads())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]


def test_memory_and_disk(tmp_path: Path) -> None:
    memory = hardware.memory()
    assert 0 < memory.available <= memory.total
    disk = hardware.disk(tmp_path / "not" / "there" / "yet")
    assert 0 < disk.free <= disk.total


def test_dtype_follows_the_instruction_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = hardware.processor()
    for sets, dtype in [
        ((), "float32"),
        (("avx512f",), "float32"),
        (("avx512_bf16",), "bfloat16"),
        (("bf16",), "bfloat16"),
    ]:
        processor = hardware.Processor(plain.model, plain.architecture, 2, 2, 2, None, sets)
        monkeypatch.setattr(hardware, "processor", lambda processor=processor: processor)
        assert hardware.choose_dtype() == dtype


def test_dtype_of_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    old = Gpu("old", "cuda", 2**34, None, None, (7, 5))
    new = Gpu("new", "cuda", 2**34, None, None, (9, 0))
    monkeypatch.setattr(hardware, "gpus", lambda: (old, new))
    assert hardware.choose_dtype(device="cuda") == "float16"
    assert hardware.choose_dtype(device="cuda:1") == "bfloat16"
    assert hardware.choose_dtype(device="mps") == "float16"


@pytest.mark.parametrize(("asked", "dtype"), [("bf16", "bfloat16"), ("float32", "float32"), ("half", "float16")])
def test_an_asked_dtype_is_taken(asked: str, dtype: str) -> None:
    assert hardware.choose_dtype(asked) == dtype


def test_a_dtype_that_does_not_exist() -> None:
    with pytest.raises(InvalidRequest, match="'bfloat'") as caught:
        hardware.choose_dtype("bfloat")
    assert "bfloat16" in (caught.value.hint or "")


@pytest.mark.usefixtures("default_threads")
def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hardware.choose_threads(5) == 5
    assert hardware.choose_threads() == hardware.processor().usable
    monkeypatch.setenv("LLMASOS_THREADS", "3")
    hardware.get_settings.cache_clear()
    assert hardware.choose_threads() == 3
    with pytest.raises(InvalidRequest, match="at least 1"):
        hardware.choose_threads(0)


def test_memory_is_refused_before_the_work() -> None:
    hardware.require_memory(1, "nothing")
    with pytest.raises(OutOfMemory, match="the model needs about 1024 PiB") as caught:
        hardware.require_memory(2**60, "the model")
    assert caught.value.needed == 2**60
    assert caught.value.available > 0


def test_nvidia_cards_come_from_the_drivers_tool(tool: Path) -> None:
    program(
        tool,
        "nvidia-smi",
        "NVIDIA H200, 143771, 143000, 570.86.15, 9.0\nNVIDIA T4, 15360, [N/A], 570.86.15, 7.5\nnonsense\n",
    )
    first, second = accelerators.gpus()
    assert first == Gpu("NVIDIA H200", "cuda", 143771 * 2**20, 143000 * 2**20, "570.86.15", (9, 0))
    assert second.memory_free is None
    assert second.capability == (7, 5)


def test_amd_cards(tool: Path) -> None:
    program(
        tool,
        "rocm-smi",
        json.dumps(
            {
                "card0": {
                    "Card Series": "MI300X",
                    "VRAM Total Memory (B)": "1000",
                    "VRAM Total Used Memory (B)": "300",
                },
                "system": {"Driver version": "6.8"},
            }
        ),
    )
    assert accelerators.gpus() == (Gpu("MI300X", "rocm", 1000, 700, None, None),)


@pytest.mark.parametrize("output", ["", "not json", "{}"])
def test_a_tool_that_fails_means_no_card(tool: Path, output: str) -> None:
    program(tool, "nvidia-smi", output, code=9)
    program(tool, "rocm-smi", output)
    assert accelerators.gpus() == ()


def test_bandwidth_is_measured_once_and_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    speeds = iter([2e9, 1e9, 5e9])

    def measure(threads: int) -> float:
        calls.append(threads)
        return next(speeds)

    monkeypatch.setattr(hardware, "_measure_bandwidth", measure)
    assert hardware.memory_bandwidth() == hardware.memory_bandwidth() == 2e9
    assert len(calls) == 1
    assert hardware.memory_bandwidth(refresh=True) == 2e9, "a busy machine measures too little"
    assert hardware.memory_bandwidth(refresh=True) == 5e9
    (home / "cache" / "hardware.json").write_text("[damaged", encoding="utf-8")
    speeds = iter([3e9])
    assert hardware.memory_bandwidth() == 3e9


def test_bandwidth_is_plausible() -> None:
    measured = hardware._measure_bandwidth(1, seconds=0.05)
    assert 1e8 < measured < 1e13


def test_devices() -> None:
    pytest.importorskip("torch")
    assert hardware.choose_device("cpu") == "cpu"
    assert hardware.choose_device() in ("cpu", "mps") or hardware.choose_device().startswith("cuda:")
    with pytest.raises(InvalidRequest, match="not a device"):
        hardware.choose_device("gpu")
    with pytest.raises(Unsupported, match="no device cuda:999"):
        hardware.choose_device("cuda:999")


def test_no_torch_is_imported() -> None:
    code = (
        "import sys; from llmasos import hardware as h; h.processor(); h.memory(); h.gpus(); h.choose_dtype();"
        "h.choose_threads(); h.memory_bandwidth(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
