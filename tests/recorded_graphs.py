"""CUDA graphs played by the CPU: the operations of a step are recorded once and repeated on the same tensors.

As with a real graph, no Python of the step runs again. What the step took from the host when it was recorded stays as
it was, and a result that changes its place is lost; an operation that would ask the device for a value is an error.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from llmasos.engine.graphs.capture import PlainCalls, Step

# These wait for the device, or give results whose shape depends on values.
WAITING = ("local_scalar_dense", "item", "equal", "is_nonzero", "nonzero", "masked_select", "unique", "bincount")


class Tape(TorchDispatchMode):
    """Records operations with the tensors they worked on."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().partition("::")[2].partition(".")[0]
        if name.strip("_").startswith(WAITING):
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        out = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, out))
        return out

    def replay(self) -> None:
        for func, args, kwargs, out in self.operations:
            for old, new in zip(tree_leaves(out), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    assert old.shape == new.shape
                    old.copy_(new)


class RecordedGraphs(PlainCalls):
    """See the module. ``growth``: bytes that each recording is said to take for every operand of its step."""

    def __init__(self, device: str = "cpu", *, budget: int | None = None, growth: int = 0) -> None:
        super().__init__(device)
        self.tapes: list[Tape] = []
        self.released = 0
        self._budget, self._growth, self._taken = budget, growth, 0

    def capture(self, step: Step) -> Step:
        step()  # warm up, as on a GPU
        tape = Tape()
        with tape:
            step()
        self.tapes.append(tape)
        self._taken += self._growth
        return tape.replay

    @property
    def budget(self) -> int | None:
        return self._budget

    @property
    def bytes(self) -> int:
        return self._taken

    def release(self) -> None:
        self.released += 1
        self._taken = 0
