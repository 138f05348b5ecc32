"""The seam between decoding over static shapes and CUDA graphs.

All that differs between a GPU and the CPU of a test is behind :class:`GraphCapture`: the same function over the same
buffers is either captured and replayed, or called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from llmasos.engine.graphs.options import DecodePath

Step = Callable[[], None]
"""Reads static buffers, writes static buffers, and returns nothing: whatever else it makes dies with it."""

BUDGET_SHARE = 0.1
"""Part of the device's memory that the graphs may take when no size is given."""

_WARM_UPS = 2


class Staging(Protocol):
    """A buffer of int64 on the host and its copy on the device."""

    host: torch.Tensor
    device: torch.Tensor

    def reclaim(self) -> None:
        """Wait until the host's side may be filled again."""

    def upload(self, count: int) -> None:
        """Copy the first ``count`` numbers to the device, without waiting for it."""


class GraphCapture(Protocol):
    """Makes a step cheap to repeat."""

    def staging(self, count: int) -> Staging:
        """A buffer of ``count`` numbers."""

    def capture(self, step: Step) -> Step:
        """Something that does what ``step`` does, as often as it is called. ``step`` may run any number of times.

        Raises:
            RuntimeError: what torch raises when the step cannot be captured or memory is short.
        """

    @property
    def budget(self) -> int | None:
        """What they may take unless somebody says otherwise; ``None``: no limit."""

    @property
    def bytes(self) -> int:
        """Memory that the intermediate results of all captured steps take together."""

    def release(self) -> None:
        """Give that memory back; what was captured is not used again."""


def open_capture(path: DecodePath, device: str) -> GraphCapture:
    """What makes the steps of a path cheap to repeat."""
    assert path != "eager"
    return CudaGraphs(device) if path == "graphs" else PlainCalls(device)


class PlainCalls:
    """No capture: every repetition calls the step. For CPUs, and to tell a fault of a step from one of its capture."""

    def __init__(self, device: str) -> None:
        self._device = device

    def staging(self, count: int) -> Staging:
        return _PlainStaging(count, self._device)

    def capture(self, step: Step) -> Step:
        return step

    @property
    def budget(self) -> int | None:
        return None

    @property
    def bytes(self) -> int:
        return 0

    def release(self) -> None: ...


class _PlainStaging:
    def __init__(self, count: int, device: str) -> None:
        import torch

        self.host = torch.zeros(count, dtype=torch.int64)
        self.device = torch.zeros(count, dtype=torch.int64, device=device)

    def reclaim(self) -> None: ...

    def upload(self, count: int) -> None:
        self.device[:count].copy_(self.host[:count])


class CudaGraphs:
    """CUDA graphs that share one memory pool.

    One pool for all is sound because graphs never run at the same time and no result of one is read after another has
    run, but for those in buffers made outside of them.
    """

    def __init__(self, device: str) -> None:
        import torch

        self._device = torch.device(device)
        cuda: Any = torch.cuda  # its classes have no types
        self._stream = cuda.Stream(self._device)
        self._anchor: Any = None
        self._bytes = 0

    def staging(self, count: int) -> Staging:
        return _PinnedStaging(count, self._device)

    def capture(self, step: Step) -> Step:
        import torch

        device, stream = self._device, self._stream
        with torch.cuda.device(device):
            # Libraries allocate workspaces and choose kernels in their first calls, which a capture does not allow.
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UPS):
                    step()
            torch.cuda.current_stream().wait_stream(stream)
            if self._anchor is None:
                # A pool lives as long as a graph that uses it: this one outlives all that come and go.
                self._anchor = self._record(lambda: torch.zeros(1, device=device).add_(1), None)
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            before = torch.cuda.memory_reserved()
            try:
                graph = self._record(step, self._anchor.pool())
            finally:
                self._bytes += max(torch.cuda.memory_reserved() - before, 0)

        def replay() -> None:
            with torch.cuda.device(device):
                graph.replay()

        return replay

    def _record(self, step: Callable[[], object], pool: Any) -> Any:
        import torch

        graph = torch.cuda.CUDAGraph()
        # Other threads of the process may use the GPU while this one captures in the middle of serving.
        with torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"):
            step()
        return graph

    @property
    def budget(self) -> int | None:
        import torch

        return int(torch.cuda.get_device_properties(self._device).total_memory * BUDGET_SHARE)

    @property
    def bytes(self) -> int:
        return self._bytes

    def release(self) -> None:
        import torch

        self._anchor = None
        self._bytes = 0
        with torch.cuda.device(self._device):
            torch.cuda.synchronize()
            torch.cuda.empty_cache()


class _PinnedStaging:
    """Pinned, so that the copy is queued behind the work before it and the host goes on."""

    def __init__(self, count: int, device: torch.device) -> None:
        import torch

        self.host = torch.zeros(count, dtype=torch.int64, pin_memory=True)
        self.device = torch.zeros(count, dtype=torch.int64, device=device)
        self._copied: Any = None

    def reclaim(self) -> None:
        if self._copied is not None:
            self._copied.synchronize()

    def upload(self, count: int) -> None:
        import torch

        cuda: Any = torch.cuda
        with cuda.device(self.device.device):
            self.device[:count].copy_(self.host[:count], non_blocking=True)
            self._copied = cuda.Event()
            self._copied.record()
