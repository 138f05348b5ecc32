"""The integer layer computes what the layer of its own dequantised weights does, forwards and backwards."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from llmasos.training.methods.int8 import Int8Linear, quantize_rows


def _pair(bias: bool, dtype: torch.dtype) -> tuple[Int8Linear, nn.Linear]:
    torch.manual_seed(0)
    exact = nn.Linear(48, 32, bias=bias).to(dtype)
    layer = Int8Linear(exact)
    plain = nn.Linear(48, 32, bias=bias).to(dtype)
    with torch.no_grad():
        plain.weight.copy_(layer.weight.to(dtype) * layer.scale.to(dtype)[:, None])
        if bias:
            plain.bias.copy_(exact.bias)
    return layer, plain


@pytest.mark.parametrize("bias", [True, False])
def test_forward_and_backward_equal_the_float_layer(bias: bool) -> None:
    layer, plain = _pair(bias, torch.float64)
    x = torch.randn(3, 5, 48, dtype=torch.float64, requires_grad=True)
    y = torch.randn(3, 5, 32, dtype=torch.float64)
    found, expected = layer(x), plain(x)
    assert torch.allclose(found, expected, rtol=1e-10)
    (gradient,) = torch.autograd.grad((found * y).sum(), x)
    (wanted,) = torch.autograd.grad((expected * y).sum(), x)
    assert torch.allclose(gradient, wanted, rtol=1e-10)
    x64 = x.detach()[0].requires_grad_(True)
    assert torch.autograd.gradcheck(lambda value: layer(value), (x64,), rtol=1e-5)


def test_computes_in_the_format_of_its_input_and_near_the_original() -> None:
    torch.manual_seed(1)
    exact = nn.Linear(256, 128)
    layer = Int8Linear(exact)
    x = torch.randn(64, 256)
    reference = exact(x)
    for dtype, limit in ((torch.float32, 0.01), (torch.bfloat16, 0.015)):
        found = layer(x.to(dtype))
        assert found.dtype == dtype
        assert float((found.float() - reference).norm() / reference.norm()) < limit
    assert layer.weight.dtype == torch.int8
    assert layer.weight.nbytes * 4 == exact.weight.nbytes


def test_no_float_copy_is_kept_for_the_backward_pass() -> None:
    layer, _ = _pair(False, torch.float32)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        layer(torch.randn(2, 48, requires_grad=True))
    assert [tensor.dtype for tensor in kept if tensor.shape == (32, 48)] == [torch.int8]


@given(st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3), min_size=1, max_size=5))
def test_rounding_is_at_most_half_a_step(rows: list[list[float]]) -> None:
    weight = torch.tensor(rows)
    values, scale = quantize_rows(weight)
    assert int(values.abs().max()) <= 127
    assert bool(((values.float() * scale[:, None] - weight).abs() <= scale[:, None] * 0.5001 + 1e-30).all())


def test_a_row_of_zeros_stays_zero() -> None:
    values, scale = quantize_rows(torch.zeros(2, 3))
    assert not values.any()
    assert scale.tolist() == [1, 1]
