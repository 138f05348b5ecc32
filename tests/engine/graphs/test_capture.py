"""The CUDA side of the seam, with torch's own functions replaced by ones that write down that they were called.

This shows the order of calls and that the installed torch takes their arguments, not that a GPU does as it is told.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from llmasos.engine.graphs.capture import CudaGraphs, PlainCalls, open_capture


class FakeCuda:
    """The functions of ``torch.cuda`` that capturing needs."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.stack: list[str] = ["main"]
        self.reserved = 0
        self.graphs = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("Stream", "stream", "current_stream", "device", "synchronize", "empty_cache", "memory_reserved",
                     "CUDAGraph", "graph", "Event", "get_device_properties"):  # fmt: skip
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        zeros = torch.zeros
        # No pinned memory and no CUDA tensors here: the same tensors on the CPU.
        monkeypatch.setattr(
            torch, "zeros", lambda *size, device=None, pin_memory=False, **values: zeros(*size, **values)
        )

    def Stream(self, device: torch.device) -> Any:
        return _Stream(self, "side")

    def current_stream(self) -> Any:
        return _Stream(self, self.stack[-1])

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        self.stack.append(stream.name)
        yield
        self.stack.pop()

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        self.calls.append(f"device {device}")
        yield

    def synchronize(self) -> None:
        self.calls.append("synchronize")

    def empty_cache(self) -> None:
        self.calls.append("empty_cache")

    def memory_reserved(self) -> int:
        return self.reserved

    def get_device_properties(self, device: torch.device) -> Any:
        return type("Properties", (), {"total_memory": 1000})

    def CUDAGraph(self) -> Any:
        self.graphs += 1
        return _Graph(self, self.graphs)

    @contextmanager
    def graph(self, graph: Any, pool: Any, stream: Any, capture_error_mode: str) -> Iterator[None]:
        self.calls.append(f"capture {graph.number} pool={pool} on {stream.name} {capture_error_mode}")
        yield
        self.reserved += 100

    def Event(self) -> Any:
        return _Event(self)


class _Stream:
    def __init__(self, cuda: FakeCuda, name: str) -> None:
        self.cuda, self.name = cuda, name

    def wait_stream(self, other: _Stream) -> None:
        self.cuda.calls.append(f"{self.name} waits for {other.name}")


class _Graph:
    def __init__(self, cuda: FakeCuda, number: int) -> None:
        self.cuda, self.number = cuda, number

    def pool(self) -> str:
        return f"of-{self.number}"

    def replay(self) -> None:
        self.cuda.calls.append(f"replay {self.number}")


class _Event:
    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda

    def record(self) -> None:
        self.cuda.calls.append("record")

    def synchronize(self) -> None:
        self.cuda.calls.append("wait for copy")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    fake.install(monkeypatch)
    return fake


def test_torch_takes_these_arguments() -> None:
    inspect.signature(torch.cuda.graph.__init__).bind(
        None, object(), pool=None, stream=None, capture_error_mode="thread_local"
    )
    for name in ("replay", "pool"):
        assert callable(getattr(torch.cuda.CUDAGraph, name))


def test_warm_up_capture_and_replay(cuda: FakeCuda) -> None:
    graphs = open_capture("graphs", "cuda:1")
    assert isinstance(graphs, CudaGraphs)
    first = graphs.capture(lambda: cuda.calls.append(f"step on {cuda.stack[-1]}"))
    assert cuda.calls == [
        "device cuda:1",
        "side waits for main",
        "step on side",
        "step on side",
        "main waits for side",
        "capture 1 pool=None on side thread_local",
        "synchronize",
        "empty_cache",
        "capture 2 pool=of-1 on side thread_local",
        "step on main",
    ]
    assert graphs.bytes == 100
    cuda.calls.clear()
    first()
    assert cuda.calls == ["device cuda:1", "replay 2"]
    graphs.capture(lambda: None)
    assert "capture 3 pool=of-1 on side thread_local" in cuda.calls
    assert graphs.bytes == 200
    graphs.release()
    assert graphs.bytes == 0
    assert graphs.budget == 100


def test_memory_of_a_failed_capture_is_counted(cuda: FakeCuda) -> None:
    graphs = CudaGraphs("cuda:0")
    left = [2]

    def fail() -> None:
        if left[0] == 0:
            cuda.reserved += 70
            raise RuntimeError("out of memory")
        left[0] -= 1

    with pytest.raises(RuntimeError, match="out of memory"):
        graphs.capture(fail)
    assert graphs.bytes == 70


def test_inputs_are_not_overwritten_while_they_are_copied(cuda: FakeCuda) -> None:
    staging = CudaGraphs("cuda:0").staging(6)
    for value in (3, 4):
        staging.reclaim()
        staging.host.fill_(value)
        staging.upload(4)
    assert [call for call in cuda.calls if not call.startswith("device")] == ["record", "wait for copy", "record"]
    assert staging.device.tolist() == [4, 4, 4, 4, 0, 0]


def test_plain_calls_run_the_step_itself() -> None:
    calls = []
    plain = open_capture("static", "cpu")
    assert isinstance(plain, PlainCalls)
    step = plain.capture(lambda: calls.append(1))
    assert not calls
    step()
    step()
    assert len(calls) == 2
    assert (plain.bytes, plain.budget) == (0, None)
