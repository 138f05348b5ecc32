"""Binding of the native kernels for training: bfloat16 on processors with AVX-512 and its BF16 instructions.

Where they do not run, :func:`kernels_for` gives ``None`` and the callers compute the same with torch.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable
from ctypes import POINTER, Structure, byref, c_float, c_int, c_int32, c_int64, c_size_t, c_void_p
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor

from llmasos.engine.kernels import native

_LANES = 16
"""Numbers that one instruction works on."""


class _Documents(Structure):
    _fields_ = [
        ("query", c_void_p),
        ("key", c_void_p),
        ("value", c_void_p),
        ("lengths", c_void_p),
        ("count", c_int32),
        ("heads", c_int32),
        ("kv_heads", c_int32),
        ("dim", c_int32),
        ("causal", c_int32),
        ("scale", c_float),
    ]


class TrainingKernels:
    """The functions of the compiled library; all tensors are contiguous and bfloat16 if nothing else is said."""

    def __init__(self, library: ctypes.CDLL) -> None:
        size = _function(library, "documents_size", [], c_size_t)
        assert size() == ctypes.sizeof(_Documents)
        documents, pointer, number, real = POINTER(_Documents), c_void_p, c_int, c_float
        self._attention = _function(library, "attention", [documents, pointer, pointer, number], number)
        self._attention_backward = _function(library, "attention_backward", [documents, *[pointer] * 6, number], number)
        self._rms_norm = _function(library, "rms_norm", [*[pointer] * 2, number, number, real, pointer, number])
        self._rms_norm_backward = _function(
            library, "rms_norm_backward", [*[pointer] * 4, number, number, real, pointer, pointer, number]
        )
        self._swiglu = _function(library, "swiglu", [pointer, pointer, c_int64, pointer, number])
        self._swiglu_backward = _function(
            library, "swiglu_backward", [*[pointer] * 3, c_int64, pointer, pointer, number]
        )
        self._rotate = _function(library, "rotate", [*[pointer] * 3, number, number, number, real, number])
        self._cross_entropy = _function(
            library, "cross_entropy", [pointer, pointer, number, number, pointer, number, number]
        )

    def attention(
        self, query: Tensor, key: Tensor, value: Tensor, lengths: tuple[int, ...], scaling: float, causal: bool
    ) -> tuple[Tensor, Tensor]:
        """As :func:`llmasos.training.kernels.attention.forward`."""
        output = torch.empty_like(query)
        log_sums = query.new_empty(query.shape[:2], dtype=torch.float32)
        documents, kept = _documents(query, key, value, lengths, scaling, causal)
        failed = self._attention(byref(documents), output.data_ptr(), log_sums.data_ptr(), _threads())
        del kept
        if failed:
            raise MemoryError("no memory for the scores of a block of queries")
        return output, log_sums

    def attention_backward(
        self,
        grad: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        output: Tensor,
        log_sums: Tensor,
        lengths: tuple[int, ...],
        scaling: float,
        causal: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As :func:`llmasos.training.kernels.attention.backward`."""
        grads = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        documents, kept = _documents(query, key, value, lengths, scaling, causal)
        pointers = [tensor.data_ptr() for tensor in (grad, output, log_sums, *grads)]
        failed = self._attention_backward(byref(documents), *pointers, _threads())
        del kept
        if failed:
            raise MemoryError("no memory for the scores of a block of queries")
        return grads

    def normalized(self, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """``x / rms(x) * weight``: (T, width)."""
        out = torch.empty_like(x)
        self._rms_norm(x.data_ptr(), weight.data_ptr(), *x.shape, epsilon, out.data_ptr(), _threads())
        return out

    def normalized_backward(
        self, grad: Tensor, x: Tensor, weight: Tensor, epsilon: float, beside: Tensor, needs_weight: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The gradient of ``x``, ``beside`` added, and the weight's."""
        out, threads = torch.empty_like(x), _threads()
        sums = x.new_zeros(threads, x.shape[1], dtype=torch.float32) if needs_weight else None
        self._rms_norm_backward(
            grad.data_ptr(), x.data_ptr(), weight.data_ptr(), beside.data_ptr(), *x.shape, epsilon, out.data_ptr(),
            None if sums is None else sums.data_ptr(), threads,
        )  # fmt: skip
        return out, None if sums is None else sums.sum(0).to(weight.dtype)

    def swiglu(self, gate: Tensor, up: Tensor) -> Tensor:
        """``silu(gate) * up``."""
        out = torch.empty_like(gate)
        self._swiglu(gate.data_ptr(), up.data_ptr(), gate.numel(), out.data_ptr(), _threads())
        return out

    def swiglu_backward(self, grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of gate and up; that of gate takes the memory of ``grad``."""
        up_grad = torch.empty_like(up)
        self._swiglu_backward(
            grad.data_ptr(), gate.data_ptr(), up.data_ptr(), gate.numel(), grad.data_ptr(), up_grad.data_ptr(),
            _threads(),
        )  # fmt: skip
        return grad, up_grad

    def rotate(self, states: Tensor, cos: Tensor, sin: Tensor, direction: float) -> Tensor:
        """(T, heads, dim) turned in place by the angles (T, dim / 2) of the positions; -1 turns back."""
        self._rotate(states.data_ptr(), cos.data_ptr(), sin.data_ptr(), *states.shape, direction, _threads())
        return states

    def cross_entropy(self, logits: Tensor, targets: Tensor, *, differentiate: bool = True) -> Tensor:
        """The summed cross entropy, (), float64, of (N, vocab) logits, which become its gradient.

        Args:
            targets: (N,) int64.
            differentiate: whether the gradient is wanted; else logits stay.

        Raises:
            IndexError: a target is no entry of the vocabulary.
        """
        assert targets.dtype == torch.int64 and targets.is_contiguous() and targets.shape == logits.shape[:1]
        if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < logits.shape[1]:
            raise IndexError(f"targets from {int(targets.min())} to {int(targets.max())} of {logits.shape[1]} logits")
        losses = logits.new_empty(len(logits), dtype=torch.float64)
        self._cross_entropy(
            logits.data_ptr(), targets.data_ptr(), *logits.shape, losses.data_ptr(), differentiate, _threads()
        )
        return losses.sum()


def kernels_for(*tensors: Tensor, head_dim: int | None = None) -> TrainingKernels | None:
    """The kernels, if they run here and can work on such tensors.

    Args:
        head_dim: for attention, the width of a head, which must be a multiple of 16.
    """
    fitting = (head_dim is None or head_dim % _LANES == 0) and all(
        tensor.dtype == torch.bfloat16 and tensor.device.type == "cpu" and tensor.is_contiguous() for tensor in tensors
    )
    return _load() if fitting else None


@lru_cache
def _load() -> TrainingKernels | None:
    loaded = native.load()
    return None if loaded is None else TrainingKernels(ctypes.CDLL(str(loaded.path)))


def _function(library: ctypes.CDLL, name: str, arguments: list[Any], result: Any = None) -> Callable[..., Any]:
    function = getattr(library, f"llmasos_training_{name}")
    function.argtypes, function.restype = arguments, result
    return cast(Callable[..., Any], function)


def _threads() -> int:
    return torch.get_num_threads()


def _documents(
    query: Tensor, key: Tensor, value: Tensor, lengths: tuple[int, ...], scaling: float, causal: bool
) -> tuple[_Documents, array[int]]:
    """The call's structure, and what it points to beside the tensors."""
    assert sum(lengths) == len(query) == len(key) and min(lengths, default=0) >= 0
    assert key.shape == value.shape and query.shape[2] == key.shape[2] and query.shape[1] % key.shape[1] == 0
    kept = array("i", lengths)
    pointers = [tensor.data_ptr() for tensor in (query, key, value)]
    return _Documents(
        *pointers, kept.buffer_info()[0], len(lengths), *query.shape[1:2], key.shape[1], query.shape[2], causal, scaling
    ), kept  # fmt: skip
